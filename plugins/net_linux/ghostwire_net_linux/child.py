"""The configuring child's work: an interface from bottom to top, and back; or what dead nodes left."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ghostwire.errors import PlatformError
from ghostwire_net_linux import routes
from ghostwire_net_linux.configure import Answer, Request
from ghostwire_net_linux.interface import Interface
from ghostwire_net_linux.journal import Journal
from ghostwire_net_linux.plan import entries, lookups
from ghostwire_net_linux.sysctls import Sysctls

_MISSING = "does not exist"


def carry_out(request: Request) -> Answer:
    """Do what the request says; errors become the answer's text."""
    journal, error, permission = Journal(), "", False
    with IPRoute() as netlink:
        try:
            _work(netlink, request, journal)
        except NetlinkError as failed:
            error, permission = f"{journal.doing}: {failed.args[-1]}", failed.code == errno.EPERM
        except PlatformError as failed:
            error = str(failed)
    where = f"interface {request.interface}" if request.interface else "cleaning up"
    text = error and (f"{where} {error}" if error == _MISSING else f"{where}: {error}")
    return Answer(tuple(journal.changes), tuple(journal.skipped), text, permission)


def _work(netlink: Any, request: Request, journal: Journal) -> None:
    shared = routes.others(netlink, request.interface)
    sysctls = Sysctls(Path(request.saved) if request.saved else None, journal, shared=shared)
    if not request.interface:
        routes.remove_dead(netlink, journal)
        sysctls.restore()
    elif request.up:
        _up(netlink, request, journal, sysctls)
    else:
        _down(netlink, request, journal, sysctls)


def _up(netlink: Any, request: Request, journal: Journal, sysctls: Sysctls) -> None:
    index = _index(netlink, request.interface)
    if not index:
        raise PlatformError(_MISSING)
    interface, wanted = Interface(netlink, journal, index), entries(request)
    rules = lookups(wanted)
    held = routes.Routes(netlink, journal, request.interface, index)
    held.check(wanted)
    held.away(wanted, rules)
    interface.addresses(request.addresses)
    interface.up(request.mtu)
    sysctls.bring(request)
    held.come(wanted, rules)


def _down(netlink: Any, request: Request, journal: Journal, sysctls: Sysctls) -> None:
    index = _index(netlink, request.interface)
    routes.Routes(netlink, journal, request.interface, index).away(set(), set())
    if index:
        interface = Interface(netlink, journal, index)
        interface.addresses(())
        interface.down()
    sysctls.restore()


def _index(netlink: Any, name: str) -> int:
    found: list[int] = netlink.link_lookup(ifname=name)
    return found[0] if found else 0
