"""The settings of ``[plugin.policy_acl]``."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``domains`` binds a domain of e-mail addresses to the issuer whose word counts for it (domain -> issuer).

    Wildcards such as ``*@company.com`` match that issuer's users alone; of a domain that is not bound, they match users
    made on the server (issuer ``local``).
    """

    domains: dict[str, str] = {}
