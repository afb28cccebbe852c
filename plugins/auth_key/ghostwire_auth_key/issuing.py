"""Makes, lists and revokes pre-auth keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec

from ghostwire import Mesh, Transaction
from ghostwire.capabilities.policy import MAX_TAGS, is_tag
from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import Conflict, NotFound, Refused
from ghostwire.model import PreAuthKey, User
from ghostwire_auth_key import secret
from ghostwire_auth_key.settings import Settings

LONGEST = 100 * 366 * 86400
T = TypeVar("T")
Tag = Annotated[
    str,
    msgspec.Meta(
        description="A tag; its tag: may be left out.",
        extra_json_schema={"pattern": "^(tag:)?[A-Za-z][A-Za-z0-9._-]{0,62}$"},
    ),
]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What key is wanted. ``user`` is a name or an id; empty: the first user. ``ttl_seconds`` 0: the usual time."""

    user: str | Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = ""
    reusable: bool = False
    ephemeral: bool = False
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST)] = 0


class Issuer:
    """Works on the mesh's records."""

    def __init__(self, mesh: Mesh, clock: Clock, entropy: Entropy, settings: Settings) -> None:
        self._mesh, self._clock, self._entropy, self._settings = mesh, clock, entropy, settings

    def now(self) -> int:
        """Unix seconds."""
        return self._clock.wall() // SECOND

    def issued(self) -> Sequence[PreAuthKey]:
        """All keys, by id."""
        return self._mesh.list(PreAuthKey)

    def owners(self) -> Mapping[int, str]:
        """Whose nodes keys make: the users' names by their ids."""
        return {user.id: user.name for user in self._mesh.list(User)}

    def key(self, id_: int) -> PreAuthKey:
        """The key of that id; NotFound where there is none."""
        return _known(next((key for key in self.issued() if key.id == id_), None), id_)

    async def issue(self, order: Order) -> tuple[PreAuthKey, str]:
        """A new key and its secret, which is known to nobody else and never shown again."""
        return await self.issue_as(order, lambda key, owner, text: (key, text))

    async def issue_as(self, order: Order, render: Callable[[PreAuthKey, str, str], T]) -> T:
        """A new key as it is shown with its user's name and its secret."""
        user, ttl, now = self._user(str(order.user)), self._ttl(order), self.now()
        tags = _checked_tags(order.tags)
        made = secret.make(self._entropy)

        def work(transaction: Transaction) -> T:
            key = PreAuthKey(
                id=transaction.new_id(PreAuthKey),
                stable_id=made.stable_id,
                digest=made.digest,
                user=user.id,
                created=now,
                expires=now + ttl,
                reusable=order.reusable,
                ephemeral=order.ephemeral,
                tags=tags,
            )
            transaction.put(key)
            return render(key, user.name, made.text)

        return await self._mesh.write(work)

    async def revoke(self, id_: int) -> PreAuthKey:
        """Let the key admit nobody any more; NotFound where there is none."""

        def work(transaction: Transaction) -> PreAuthKey:
            key = _known(transaction.get(PreAuthKey, id_), id_)
            key = msgspec.structs.replace(key, revoked=True)
            transaction.put(key)
            return key

        return await self._mesh.write(work)

    def _user(self, text: str) -> User:
        users = self._mesh.list(User)
        if not text:
            if users:
                return users[0]
            raise NotFound("this mesh has no user; make one: gwctl users create NAME")
        for user in users:
            if text in (user.name, str(user.id)):
                return user
        raise NotFound(f"no user is called {text!r}; see: gwctl users list")

    def _ttl(self, order: Order) -> int:
        longest = self._settings.max_ttl_seconds
        if order.ttl_seconds > longest:
            raise Conflict(f"a key may live for {longest} seconds at most, as max_ttl_seconds says", "usage")
        return order.ttl_seconds or min(self._settings.ttl_seconds, longest)


def _known(key: PreAuthKey | None, id_: int) -> PreAuthKey:
    if key is None:
        raise NotFound(f"there is no pre-auth key {id_}; see: gwctl preauthkeys list")
    return key


def _checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(tag if tag.startswith("tag:") else f"tag:{tag}" for tag in tags))
    wrong = next((tag for tag in named if not is_tag(tag)), None)
    if wrong is not None:
        raise Refused(f"{wrong[:80]!r} is not a tag: give tag: and letters, digits and ._-, a letter first", "usage")
    if len(named) > MAX_TAGS:
        raise Refused(f"a key may carry {MAX_TAGS} tags at most", "usage")
    return named
