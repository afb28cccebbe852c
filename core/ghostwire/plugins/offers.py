"""What plugins offer: the records that hooks yield, and what may stand in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

import ghostwire
from ghostwire import Command, Provider
from ghostwire.errors import PluginError

if TYPE_CHECKING:
    from ghostwire.plugins.isolation.protocol import Described

CAPABILITIES: Mapping[str, type[Any]] = {
    "ghostwire_transports": ghostwire.Transport,
    "ghostwire_tunnels": ghostwire.Tunnel,
    "ghostwire_platforms": ghostwire.Platform,
    "ghostwire_authenticators": ghostwire.Authenticator,
    "ghostwire_storages": ghostwire.Storage,
    "ghostwire_resolvers": ghostwire.Resolver,
    "ghostwire_policies": ghostwire.PolicyEngine,
    "ghostwire_telemetry": ghostwire.Telemetry,
    "ghostwire_services": ghostwire.Service,
    "ghostwire_upgrades": ghostwire.StreamUpgrade,
    "ghostwire_routes": ghostwire.Routes,
}
"""What ``create`` makes, by hook; `ghostwire_commands` yields no providers."""

PROVIDED = ("server", "node", "relay")
"""The roles whose programs make providers' objects."""

FIRST_ISOLATED_RANK: Final = 1
MAX_ISOLATED: Final = 16
"""Transports of one plugin in a process of its own."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class Offer(msgspec.Struct, frozen=True):
    """Something a plugin provides, as its hook yielded it."""

    plugin: str
    provider: Provider[Any] | Command
    hook: str = ""

    @property
    def name(self) -> str:
        """The provider's name; a command's with its program, which may share names with another's."""
        if isinstance(self.provider, Command):
            return f"{self.provider.program} {self.provider.name}"
        return self.provider.name

    @property
    def isolated(self) -> bool:
        """Whether what it creates lives in a process of its own."""
        return isinstance(self.provider, Provider) and self.provider.isolated

    @property
    def order(self) -> tuple[int, str]:
        """By rank, then by name."""
        return (self.provider.rank if isinstance(self.provider, Provider) else 0, self.name)

    def is_for(self, role: str | None) -> bool:
        """Whether a program of this role is to have it; None stands for any."""
        roles = self.provider.roles if isinstance(self.provider, Provider) else ()
        return role is None or not roles or role in roles

    def create(self, context: Any) -> Any:
        """Make the object; PluginError where it is something else than the hook is for."""
        if not isinstance(self.provider, Provider):
            raise ValueError(f"{self.name} is a command, which is loaded, not created")
        made, kind = self.provider.create(context), CAPABILITIES.get(self.hook, object)
        if not isinstance(made, kind):
            raise self.broken(f"made a {type(made).__name__} instead of a {kind.__name__}")
        return made

    def broken(self, reason: str) -> PluginError:
        """The error that tells why it cannot be had, naming plugin and provider (once, where both have one name)."""
        return PluginError(self.plugin, reason if self.name == self.plugin else f"{self.name}: {reason}")


def isolated_offers(plugin: str, described: Described) -> list[Offer]:
    """What a plugin in a process of its own offers, as it was described; PluginError where that makes no sense.

    Whatever rank it claims, it is preferred to no transport of rank 0: a stranger never goes before ``udp``.
    """
    offers = []
    for transport in described.transports[:MAX_ISOLATED]:
        name = transport.name

        def create(context: Any, name: str = name) -> Any:
            from ghostwire.plugins.isolation.transport import IsolatedTransport

            return IsolatedTransport(plugin, name, context)

        record = Provider(name, create, max(FIRST_ISOLATED_RANK, transport.rank), isolated=True)
        if problem := problem_of_record(record, Provider):
            raise PluginError(plugin, f"ghostwire_transports yielded {problem}")
        offers.append(Offer(plugin, record, "ghostwire_transports"))
    return offers


def record_of(hook: str) -> type[Any]:
    """The type of record that a hook yields."""
    return Command if hook == "ghostwire_commands" else Provider


def problem_of_record(record: Any, kind: type[Any]) -> str:
    """What is wrong with a record, which should be of this type; empty where it is right."""
    if not isinstance(record, kind):
        return f"a {type(record).__name__} instead of a {kind.__name__}"
    if not isinstance(record.name, str) or not _NAME.fullmatch(record.name):
        return f"the name {record.name!r}; names are lower-case letters, digits, - and _"
    if isinstance(record, Command):
        known = record.program in ("ghostwire", "gwctl") and callable(record.load)
        return "" if known else f"the command {record.name} without a known program or without load"
    if not isinstance(record.roles, tuple) or not set(record.roles) <= set(PROVIDED):
        return f"{record.name} for roles that there are not; there are {', '.join(PROVIDED)}"
    usable = callable(record.create) and isinstance(record.rank, int)
    return "" if usable else f"{record.name} without a callable create or a whole-number rank"
