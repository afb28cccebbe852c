"""Who calls: from where, over what, and with which token; known before anything that he says is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

import msgspec
from starlette.types import Message, Receive

from ghostwire.errors import GhostwireError, PermissionDenied, UsageError

SCHEME = "bearer "


class Caller(msgspec.Struct, frozen=True):
    """``address`` as text, empty on the Unix socket. ``private``: nobody between us overhears what is said. ``barred``
    is why he is not answered, where that is known already."""

    address: str
    private: bool
    barred: GhostwireError | None = None


_caller: ContextVar[Caller] = ContextVar("caller")


def refusal(scope: Any) -> GhostwireError | None:
    """Why a request can't be a call, whatever it says."""
    if scope["method"] != "POST":
        return UsageError("gRPC and Connect calls are made by POST")
    headers = dict(scope["headers"])
    if not all(value.isascii() for value in headers.values()):
        return UsageError("metadata is ASCII; binary values are base64 under names that end in -bin")
    kind = headers.get(b"content-type", b"")
    grpc = kind.startswith(b"application/grpc") and not kind.startswith(b"application/grpc-web")
    if grpc and "http.response.trailers" not in (scope.get("extensions") or {}):
        return UsageError("gRPC needs HTTP/2, which this connection does not speak; over HTTP/1.1 use Connect")
    return None


@contextmanager
def told(scope: Any, behind_proxy: bool) -> Iterator[None]:
    """`caller` tells of this request meanwhile."""
    address = (scope.get("client") or ("", 0))[0]
    private = behind_proxy or scope.get("scheme") == "https" or not address or _is_loopback(address)
    token = _caller.set(Caller(address, private))
    try:
        yield
    finally:
        _caller.reset(token)


def admitted(entry: Callable[[str, str], object], scope: Any, receive: Receive) -> Receive:
    """The body of a call whose caller ``entry(address, token)`` lets in. What others say, whom it refuses by raising a
    GhostwireError, is not looked at: it is as if they had sent an empty message, and `caller` says why."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        entry(caller().address, bearer(headers))
    except GhostwireError as error:
        _caller.set(msgspec.structs.replace(_caller.get(), barred=error))
        return _nothing(headers.get("content-type", ""), receive)
    return receive


def caller() -> Caller:
    """Who makes the call that is answered; PermissionDenied where others could overhear it."""
    found = _caller.get()
    if found.barred is not None:
        raise found.barred
    if not found.private:
        raise PermissionDenied("calls are answered over TLS alone, or on the server's own machine")
    return found


def barred() -> bool:
    """Whether the caller is known not to be answered."""
    found = _caller.get()
    return found.barred is not None or not found.private


def bearer(headers: Any) -> str:
    """The token in the call's metadata, empty where there is none."""
    given = str(headers.get("authorization", ""))
    return given[len(SCHEME) :].strip() if given[: len(SCHEME)].lower() == SCHEME else ""


def _nothing(kind: str, receive: Receive) -> Receive:
    text = b"{}" if kind.endswith("json") else b""
    enveloped = kind.startswith(("application/grpc", "application/connect+"))
    told = [b"\x00" + len(text).to_bytes(4, "big") + text if enveloped else text]

    async def end() -> Message:
        while not told and (message := await receive())["type"] == "http.request":
            pass
        return {"type": "http.request", "body": told.pop(), "more_body": False} if told else message

    return end


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
