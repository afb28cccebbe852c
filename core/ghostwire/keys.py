"""Key types with their text prefixes, and the files private keys live in.

Public keys are X25519 points of 32 bytes; a key's type says what it is for, so that one can't be used for another:

    MachineKey   mkey:<hex>       a machine's identity towards the server
    NodeKey      nodekey:<hex>    a node's WireGuard key
    DiscoKey     discokey:<hex>   a node's path-discovery key
    ControlKey   ctlkey:<hex>     the server's key in the control session
    RelayKey     derpkey:<hex>    a relay's key towards its clients
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ghostwire.errors import PermissionDenied, StateError

KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-f]{64}")


class PublicKey:
    """32 raw bytes, hashable and compared by value and type; ``str()`` is the prefixed hex text."""

    prefix: ClassVar[str] = "pubkey:"
    __slots__ = ("raw",)
    raw: bytes

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"{type(self).__name__}: {len(raw)} bytes instead of {KEY_BYTES}")
        self.raw = bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``<prefix><64 hex digits>``; ValueError names what was expected."""
        if not text.startswith(cls.prefix) or not _HEX.fullmatch(text[len(cls.prefix) :]):
            raise ValueError(f"not a key: expected {cls.prefix} and 64 hex digits")
        return cls(bytes.fromhex(text[len(cls.prefix) :]))

    def __str__(self) -> str:
        return self.prefix + self.raw.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short})"

    @property
    def short(self) -> str:
        """The first eight hex digits, for logs and tables."""
        return self.raw[:4].hex()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)


class MachineKey(PublicKey):
    """A machine's identity towards the server; proven by the control session's handshake."""

    prefix = "mkey:"
    __slots__ = ()


class NodeKey(PublicKey):
    """A node's WireGuard public key."""

    prefix = "nodekey:"
    __slots__ = ()


class DiscoKey(PublicKey):
    """A node's path-discovery public key."""

    prefix = "discokey:"
    __slots__ = ()


class ControlKey(PublicKey):
    """The server's public key in the control session."""

    prefix = "ctlkey:"
    __slots__ = ()


class RelayKey(PublicKey):
    """A relay's public key towards its clients."""

    prefix = "derpkey:"
    __slots__ = ()


K = TypeVar("K", bound=PublicKey)


class PrivateKey:
    """An X25519 private key that never shows itself in ``repr`` or logs."""

    __slots__ = ("_key", "_public")

    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self._public = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key from ``entropy(32)``."""
        return cls(entropy(KEY_BYTES))

    @property
    def raw(self) -> bytes:
        """The 32 secret bytes, for storing and for engines that need them."""
        return self._key.private_bytes_raw()

    @property
    def public_raw(self) -> bytes:
        """The public key's 32 bytes."""
        return self._public

    def public(self, kind: type[K]) -> K:
        """The public key as a key of this kind."""
        return kind(self._public)

    def exchange(self, public: bytes) -> bytes:
        """The X25519 shared secret; ValueError where it would be all zeros (a low-order point)."""
        return self._key.exchange(X25519PublicKey.from_public_bytes(public))

    def __repr__(self) -> str:
        return "PrivateKey(hidden)"


def equal(a: bytes, b: bytes) -> bool:
    """Constant-time comparison."""
    return hmac.compare_digest(a, b)


def is_private_key(text: str) -> bool:
    """Whether this is what a private key file holds."""
    return _HEX.fullmatch(text.strip()) is not None


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key file: one line of 64 hex digits, readable by its owner alone.

    StateError where it is missing, damaged or open to others; the text says which.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
    except FileNotFoundError:
        raise StateError(f"{path}: no such key file") from None
    except (OSError, UnicodeError) as error:
        raise StateError(f"{path}: cannot read the key file: {error}") from None
    if mode & 0o077:
        raise StateError(f"{path}: others may read this private key; run: chmod 600 {path}")
    if not is_private_key(text):
        raise StateError(f"{path}: not a private key (64 hex digits expected); restore it from a backup")
    return PrivateKey(bytes.fromhex(text))


def load_or_create_private_key(path: Path, entropy: Callable[[int], bytes] = os.urandom) -> PrivateKey:
    """Read the key file, or make it (mode 0600, flushed to disk before anyone learns the public key)."""
    if path.exists():
        return load_private_key(path)
    key = PrivateKey.generate(entropy)
    write_private(path, key.raw.hex().encode() + b"\n")
    return key


def create_private(path: Path) -> int:
    """A descriptor of a new file that only its owner may read; what was there, a link of somebody's say, is removed."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably; only its owner may read it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = create_private(temporary)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except PermissionError as error:
        raise PermissionDenied(f"{path}: cannot write: {error.strerror}; run as its owner or pass --state") from None
    except OSError as error:
        raise StateError(f"{path}: cannot write: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
