"""Regions: an integer on the wire, a name for people. A region is there as long as a relay is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from ghostwire.errors import Conflict, Refused
from ghostwire.model import Relay
from ghostwire.server.names import LINE

FIRST = 900
"""Where the mesh's own regions begin, as in the field: below are the public ones of others."""
LAST = 65535
MAX_NAME = 64


def checked_name(name: str) -> str:
    """The name, if a region can have it; else Refused."""
    if re.fullmatch(LINE, name) is None:
        raise Refused(f"{name[:MAX_NAME]!r} can't name a region: give 1 to 64 printable characters", "usage")
    return name


def region_id(others: Iterable[Relay], name: str, *, wanted: int | None = None, own: int | None = None) -> int:
    """The id of the region of that name among the other relays' regions, or of a new one.

    A new one is ``wanted``; or the relay's ``own``, where it was alone there (so it is the same region with another
    name); or the next free. Conflict where the name or the wanted id stands for another region already.
    """
    names = {relay.region: relay.region_name for relay in others}
    known = min((id_ for id_, held in names.items() if held == name), default=None)
    if wanted is None:
        return known or next(id_ for id_ in chain((own or FIRST,), range(FIRST, LAST + 1)) if id_ not in names)
    if known not in (None, wanted):
        raise Conflict(f"the region {name} has the id {known}")
    if names.get(wanted, name) != name:
        raise Conflict(f"the region {wanted} is called {names[wanted]}")
    return wanted
