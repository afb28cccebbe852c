"""Settings of `[plugin.net_linux]`."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``tun`` is the kernel's TUN device node; ``settle`` how many seconds links must be quiet to count as changed."""

    tun: str = "/dev/net/tun"
    settle: float = 0.25
