"""Lists come in pages: ``?limit=&after=``, and ``next`` in the answer where there is more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

MAX_PAGE = 500
LAST_ID = 2**63 - 1

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="How many to show at most.")]
After = Annotated[int, msgspec.Meta(ge=0, le=LAST_ID, description="Begin behind this one: `next` of the page before.")]
Next = Annotated[int, msgspec.Meta(description="There is more: give this as `after`. Left out on the last page.")]


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Limit = MAX_PAGE
    after: After = 0


class Listing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every page has."""

    next: Next | msgspec.UnsetType = msgspec.UNSET


def paged(items: Sequence[T], page: Page, place: Callable[[T], int] = attrgetter("id")) -> tuple[Sequence[T], Any]:
    """The items of a page of a list that is in order of ``place`` (their id), and its ``next``."""
    start = bisect_right(items, page.after, key=place)
    chosen = items[start : start + page.limit]
    more = start + len(chosen) < len(items)
    return chosen, place(chosen[-1]) if more else msgspec.UNSET
