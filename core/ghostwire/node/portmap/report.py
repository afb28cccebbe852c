"""Which port mapping protocols a router speaks."""

from __future__ import annotations

import msgspec


class PortMapProtocols(msgspec.Struct, frozen=True, kw_only=True):
    """True: it answered in that protocol, if only to refuse; False: it did not; None: it was not asked."""

    nat_pmp: bool | None = None
    pcp: bool | None = None
    upnp: bool | None = None
