"""What aioquic and its fork qh3 have in common: classes of the same names, with the same public methods."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from ghostwire_transport_quic.header import CID_BYTES, VERSION
from ghostwire_transport_quic.keyfile import Credentials
from ghostwire_transport_quic.library import (
    ALPN,
    IDLE_SECONDS,
    PACKET,
    STREAM_CREDIT,
    Completed,
    Datagram,
    Ended,
    Event,
    Fetch,
    Issued,
    Keep,
    Retired,
    Stream,
)
from ghostwire_transport_quic.remote import Address

FIRST_RTT = 0.1
"""Seconds that a round trip is taken for before one was measured, twice which a lost first packet waits. qh3 assumes a
third of a second, by which three losses take longer than a handshake may."""
SHORT_QUEUE = 16
"""The most datagrams that wait in the library: what it holds cannot be replaced by fresher ones."""

_MADE: dict[str, Callable[[Any], Event]] = {
    "DatagramFrameReceived": lambda event: Datagram(event.data),
    "StreamDataReceived": lambda event: Stream(event.stream_id, event.data, event.end_stream),
    "HandshakeCompleted": lambda event: Completed(event.session_resumed),
    "ConnectionIdIssued": lambda event: Issued(event.connection_id),
    "ConnectionIdRetired": lambda event: Retired(event.connection_id),
    "ConnectionTerminated": lambda event: Ended(event.reason_phrase),
}


class FamilyConnection:
    """A ``QuicConnection`` of either; what reads private attributes is in the subclasses."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.cid: bytes = inner.host_cid
        self.connect, self.close = inner.connect, inner.close
        self.send_datagram = inner.send_datagram_frame
        self.timer, self.advance = inner.get_timer, inner.handle_timer

    def send_stream(self, data: bytes) -> None:
        """See `Connection`."""
        number = self._inner.get_next_available_stream_id(is_unidirectional=True)
        self._inner.send_stream_data(number, data, end_stream=True)

    def ping(self) -> None:
        """See `Connection`."""
        self._inner.send_ping(0)

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """See `Connection`."""
        return self._inner.datagrams_to_send(now)  # type: ignore[no-any-return]

    def events(self) -> Iterator[Event]:
        """See `Connection`."""
        while (event := self._inner.next_event()) is not None:
            make = _MADE.get(type(event).__name__)
            if make is not None:
                yield make(event)

    @property
    def closing(self) -> bool:
        """See `Connection`."""
        return self._inner._close_event is not None


class Family:
    """Makes connections of one of them."""

    name: str
    wrap: type[Any]

    def __init__(self, credentials: Credentials, modules: dict[str, ModuleType], **more: Any) -> None:
        logging.getLogger("quic").setLevel(logging.CRITICAL)  # both log a line for whatever a stranger sends
        self._connection, self._packet = modules["connection"].QuicConnection, modules["packet"]
        self._configuration = modules["configuration"].QuicConfiguration
        self._more = more
        self._server = self._configure(is_client=False)
        tls = modules["tls"]
        self._server.certificate = tls.load_pem_x509_certificates(credentials.certificate)[0]
        self._server.private_key = tls.load_pem_private_key(credentials.key)

    def _configure(self, **fields: Any) -> Any:
        return self._configuration(
            alpn_protocols=[ALPN],
            connection_id_length=CID_BYTES,
            idle_timeout=IDLE_SECONDS,
            max_data=STREAM_CREDIT,
            max_stream_data=STREAM_CREDIT,
            max_datagram_size=PACKET,
            max_datagram_frame_size=PACKET,
            initial_rtt=FIRST_RTT,
            supported_versions=[VERSION],
            verify_mode=ssl.CERT_NONE,
            **self._more,
            **fields,
        )

    def dial(self, ticket: Any, keep: Keep) -> Any:
        """See `Library`."""
        configuration = self._configure(is_client=True, session_ticket=ticket)
        return self.wrap(self._connection(configuration=configuration, session_ticket_handler=keep))

    def accept(self, original: bytes, retried: bytes | None, fetch: Fetch, keep: Keep) -> Any:
        """See `Library`."""
        return self.wrap(
            self._connection(
                configuration=self._server,
                original_destination_connection_id=original,
                retry_source_connection_id=retried,
                session_ticket_fetcher=fetch,
                session_ticket_handler=keep,
            )
        )

    def retry(self, source: bytes, destination: bytes, original: bytes, token: bytes) -> bytes:
        """See `Library`."""
        return self._packet.encode_quic_retry(  # type: ignore[no-any-return]
            version=VERSION,
            source_cid=source,
            destination_cid=destination,
            original_destination_cid=original,
            retry_token=token,
        )
