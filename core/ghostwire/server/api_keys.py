"""API keys: secrets by which programs administer the mesh over the network.

    gwapi-<stable id, 16 hex digits>-<64 hex digits>

The server keeps the BLAKE2s digest of the whole text. The stable id only says which key is meant; comparing digests in
constant time decides. Wrong guesses at a key are limited for each address, and are not looked at beyond that; a guess
that names no key can never be right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Clock, Entropy
from ghostwire.errors import AuthenticationFailed, Conflict, NotFound, Refused
from ghostwire.frontdoor.admission import origin_of
from ghostwire.model import ApiKey
from ghostwire.server.limits import Buckets
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import is_label
from ghostwire.wire.api_errors import TooMany

MAX_KEYS = 1000
MAX_TTL = 100 * 366 * 86400
GUESSES, EVERY = 10, 6.0
"""Wrong guesses that are answered at once, and the seconds to one more."""
_TEXT = re.compile(r"gwapi-([0-9a-f]{16})-[0-9a-f]{64}")

T = TypeVar("T")


class ApiKeys:
    """Works on the mesh's records. Keys are named by id or by name; NotFound where there is none."""

    def __init__(self, mesh: LiveMesh, clock: Clock, entropy: Entropy) -> None:
        self._mesh, self._entropy = mesh, entropy
        self._guesses = Buckets(clock, burst=GUESSES, interval=EVERY)

    def all(self) -> Sequence[ApiKey]:
        """All keys, by id."""
        return self._mesh.list(ApiKey)

    def key(self, text: str) -> ApiKey:
        """The key of that id or name."""
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
        found = next((key for key in self.all() if text == key.name or number == key.id), None)
        if found is None:
            raise NotFound(f"no API key is called {text!r}; see: gwctl apikeys list")
        return found

    async def create(
        self, name: str, author: str, *, ttl: int, read_only: bool, render: Callable[[ApiKey, str], T]
    ) -> T:
        """A new key as ``render`` shows it with its secret, which nobody is shown again. ``ttl`` 0: without an end."""
        if not is_label(name) or name.isdecimal():
            raise Refused(f"{name[:64]!r} can't name an API key: 1 to 63 of a-z, 0-9 and -, not only digits", "usage")
        stable_id, now = self._entropy(8).hex(), self._mesh.now()
        text = f"gwapi-{stable_id}-{self._entropy(32).hex()}"

        def work(transaction: Transaction) -> T:
            if transaction.find(ApiKey, name=name):
                raise Conflict(f"another API key is called {name!r}; first: gwctl apikeys delete {name}")
            if len(transaction.find(ApiKey)) >= MAX_KEYS:
                raise Conflict(f"there are {MAX_KEYS} API keys, the most there may be; delete some")
            key = ApiKey(
                id=transaction.new_id(ApiKey),
                stable_id=stable_id,
                name=name,
                digest=_digest(text),
                created=now,
                author=author,
                expires=now + ttl if ttl else None,
                read_only=read_only,
            )
            transaction.put(key)
            return render(key, text)

        return await self._mesh.write(work)

    async def delete(self, text: str) -> ApiKey:
        """Let a key open nothing any more, at once."""
        key = self.key(text)
        await self._mesh.write(lambda transaction: transaction.delete(ApiKey, key.id))
        return key

    def admit(self, text: str, client: str) -> ApiKey:
        """The key whose secret this is; AuthenticationFailed where there is none, TooMany after too many guesses."""
        match = _TEXT.fullmatch(text)
        held = next((key for key in self.all() if match and key.stable_id == match[1]), None)
        guesser = f"{origin_of(client)} {held.stable_id if held else ''}"
        if held is not None and (wait := self._guesses.wait(guesser)):
            raise TooMany(f"too many wrong secrets of this API key came from this address; wait {wait:.0f} s", wait)
        if not hmac.compare_digest(_digest(text), held.digest if held else bytes(32)) or held is None:
            self._guesses.take(guesser)
            raise AuthenticationFailed("this API key is not known; make one: gwctl apikeys create")
        if self.expired(held):
            raise AuthenticationFailed(f"the API key {held.name} has expired; make another: gwctl apikeys create")
        return held

    def expired(self, key: ApiKey) -> bool:
        """Whether the key's time is over."""
        return key.expires is not None and key.expires <= self._mesh.now()


def _digest(text: str) -> bytes:
    return hashlib.blake2s(text.encode()).digest()
