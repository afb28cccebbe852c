"""The HTTP exchange that opens a DERP connection.

GET /derp HTTP/1.1                      HTTP/1.1 101 Switching Protocols
Host: relay.example                     Upgrade: DERP
Connection: Upgrade                     Connection: Upgrade
Upgrade: DERP
"""

from __future__ import annotations

from typing import Any

import h11

from ghostwire.errors import Refused, RemoteProtocolError, Unavailable

PATH = "/derp"
PROTOCOL = "DERP"
MAX_HEAD = 16 * 1024

_BUSY = frozenset({429, 502, 503, 504})
_FORBIDDEN = frozenset({401, 403})


class Upgrade:
    """Asks the relay called ``name`` at ``host``, and reads its answer."""

    def __init__(self, name: str, host: str) -> None:
        self._name, self._host = name, host
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    def request(self) -> bytes:
        """What to send first; Unavailable where the host is no name."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        headers = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", PROTOCOL)]
        try:
            head = self._http.send(h11.Request(method="GET", target=PATH, headers=headers)) or b""
        except h11.LocalProtocolError:
            raise Unavailable(f"{self._name}: its host name cannot be asked for: {self._host!r}") from None
        return head + (self._http.send(h11.EndOfMessage()) or b"")

    def answered(self, data: bytes) -> bytes | None:
        """Take what arrived; what followed the answer once it is whole, None before.

        Unavailable where the relay is busy, Refused where it says no, RemoteProtocolError where it is no DERP relay.
        """
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise self._stranger("answered something that is not HTTP") from None
        if event is h11.NEED_DATA:
            return None
        self._check(event)
        return self._http.trailing_data[0]

    def _check(self, event: Any) -> None:
        status = getattr(event, "status_code", 0)
        if status in _BUSY:
            raise Unavailable(f"{self._name}: busy or restarting (answered {status})")
        if status in _FORBIDDEN:
            raise Refused(f"{self._name}: does not let this node in (answered {status})")
        if status != 101:
            raise self._stranger(f"answered {status} to the upgrade")
        if (b"upgrade", PROTOCOL.lower().encode()) not in [(name, value.lower()) for name, value in event.headers]:
            raise self._stranger("upgraded to something else")

    def _stranger(self, what: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self._name}: not a DERP relay ({what}); check its record: gwctl relays list")
