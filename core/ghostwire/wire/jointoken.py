"""Join tokens: the one line of text that lets a machine join, and tells it which server is the right one."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from typing import Self

import msgspec

from ghostwire.errors import UsageError
from ghostwire.keys import ControlKey
from ghostwire.model import pack, unpacker
from ghostwire.wire.serverurl import EXPECTED, ServerUrl

PREFIX = "gwjoin-"
MAX_TEXT = 4096
MAX_SECRET = 512
PIN_BYTES = 32
PRE_AUTH = "auth_key"
"""The scheme of pre-auth keys."""
RELAY = "relay"
"""The scheme of relays' tokens, which no node can use."""


class JoinToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``gwjoin-`` and the base64url (unpadded) of this record as a msgpack map; unknown keys are ignored.

    ``secret`` is what the authenticator named ``scheme`` reads; ``control_key`` authenticates the server from the
    first byte; ``pin`` is the SHA-256 of the certificate's SubjectPublicKeyInfo and guards the REST API only.
    """

    url: str
    secret: str
    control_key: ControlKey
    pin: bytes | None = None
    scheme: str = PRE_AUTH

    def __repr__(self) -> str:
        return f"JoinToken({self.url}, {self.control_key.short}, secret hidden)"

    def encode(self) -> str:
        """The token's text; whoever reads it may join."""
        return PREFIX + urlsafe_b64encode(pack(self)).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the token's text, white space around it aside; UsageError says what is wrong and never repeats it."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise UsageError(
                f"not a join token: one begins with {PREFIX}; on the server, gwctl preauthkeys create makes one for a "
                "node, gwctl relays create for a relay"
            )
        if len(text) > MAX_TEXT:
            raise UsageError("not a join token: it is too long; copy one line, from gwjoin- to its end")
        try:
            token: Self = _decoder.decode(_unarmour(text[len(PREFIX) :]))
        except (msgspec.DecodeError, ValueError):
            raise UsageError("the join token is damaged or cut off; copy the whole line again") from None
        token._check()
        return token

    def _check(self) -> None:
        if problem := _problem(self):
            raise UsageError(f"the join token {problem}; ask for a new one")


def _unarmour(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _problem(token: JoinToken) -> str:
    if not _is_server_url(token.url):
        return f"names no server: its URL must be {EXPECTED}"
    if not 0 < len(token.secret) <= MAX_SECRET:
        return "holds no usable secret"
    if token.pin is not None and len(token.pin) != PIN_BYTES:
        return "holds a malformed certificate pin"
    return ""


def _is_server_url(url: str) -> bool:
    try:
        ServerUrl.parse(url)
    except ValueError:
        return False
    return True


_decoder = unpacker(JoinToken)
