"""What the configuring child did, could not do, and was doing when something failed."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyroute2.netlink.exceptions import NetlinkError

_DONE_ALREADY = frozenset({errno.EEXIST, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT})
_NO_IPV6 = frozenset({errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENODEV})


class Journal:
    """``changes`` and ``skipped`` are for the answer, ``doing`` for its error."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self.skipped: list[str] = []
        self.doing = "reading"

    def do(self, what: str, call: Callable[[], object], *, optional: bool = False) -> None:
        """Do it; what others did meanwhile is no error, and what is ``optional`` (IPv6) may be impossible here."""
        self.doing = what
        try:
            call()
        except NetlinkError as error:
            if optional and error.code in _NO_IPV6:
                self.skipped.append(f"{what}: {error.args[-1]}")
                return
            if error.code not in _DONE_ALREADY:
                raise
            return
        self.changes.append(what)
