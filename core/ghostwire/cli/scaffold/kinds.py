"""What plugins can be begun as: the hook and classes of each kind, and the texts of its implementation and tests."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ghostwire.cli.scaffold import node, server, shared, transport


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind. ``fields`` are the lines of its Settings, ``code`` and ``tests`` templates for `string.Template`.

    ``conformance`` is one too: the contract for what nobody but the author can try, a secret that admits say.
    """

    hook: str
    capability: str
    context: str
    roles: str
    what: str
    code: str
    tests: str
    fields: str = "    pass\n"
    rank: str = ""
    conformance: str = ""


KINDS: Mapping[str, Kind] = {
    "transport": Kind(
        hook="ghostwire_transports",
        capability="Transport",
        context="TransportContext",
        roles="node",
        what="carries sealed datagrams over UDP",
        code=transport.CODE,
        tests=transport.TESTS,
        fields=transport.FIELDS,
        rank=", rank=50",
    ),
    "resolver": Kind(
        hook="ghostwire_resolvers",
        capability="Resolver",
        context="NodeContext",
        roles="node",
        what="answers for one name",
        code=node.RESOLVER,
        tests=node.RESOLVER_TESTS,
        conformance=node.RESOLVER_CONFORMANCE,
        fields=node.RESOLVER_FIELDS,
        rank=", rank=50",
    ),
    "authenticator": Kind(
        hook="ghostwire_authenticators",
        capability="Authenticator",
        context="ServerContext",
        roles="server",
        what="admits machines that show a voucher",
        code=server.AUTHENTICATOR,
        tests=server.JUDGED_TESTS,
        conformance=server.AUTHENTICATOR_CONFORMANCE,
    ),
    "storage": Kind(
        hook="ghostwire_storages",
        capability="Storage",
        context="Context",
        roles="server",
        what="keeps the server's records, in memory",
        code=server.STORAGE,
        tests=server.JUDGED_TESTS,
        conformance=server.STORAGE_CONFORMANCE,
    ),
    "policy": Kind(
        hook="ghostwire_policies",
        capability="PolicyEngine",
        context="ServerContext",
        roles="server",
        what="lets everybody reach everybody, or nobody",
        code=server.POLICY,
        tests=server.POLICY_TESTS,
        conformance=server.POLICY_CONFORMANCE,
    ),
    "routes": Kind(
        hook="ghostwire_routes",
        capability="Routes",
        context="Context",
        roles="server",
        what="answers one HTTP request",
        code=server.ROUTES,
        tests=server.ROUTES_TESTS,
        fields=server.ROUTES_FIELDS,
    ),
    "telemetry": Kind(
        hook="ghostwire_telemetry",
        capability="Telemetry",
        context="Context",
        roles="server,node,relay",
        what="writes the metrics to a file",
        code=shared.TELEMETRY,
        tests=shared.TELEMETRY_TESTS,
        conformance=shared.TELEMETRY_CONFORMANCE,
        fields=shared.TELEMETRY_FIELDS,
    ),
    "service": Kind(
        hook="ghostwire_services",
        capability="Service",
        context="Context",
        roles="server,node,relay",
        what="does something from time to time",
        code=shared.SERVICE,
        tests=shared.SERVICE_TESTS,
        fields=shared.SERVICE_FIELDS,
    ),
    "command": Kind(
        hook="ghostwire_commands",
        capability="Command",
        context="",
        roles="ctl",
        what="adds a command to gwctl",
        code=shared.COMMAND,
        tests=shared.COMMAND_TESTS,
    ),
}
"""By name, as ``--kind`` takes it."""
