"""The library's HTTP/2, but for what it says to a client whose request we reset while its body was under way."""

from __future__ import annotations

from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import StreamClosedError
from h2.stream import StreamClosedBy
from hyperframe.frame import DataFrame, Frame, RstStreamFrame


class Engine(H2Connection):
    """Takes no offence at data that crossed our reset (RFC 9113, 5.4.2): a second, an error, would undo the first."""

    def _handle_data_on_closed_stream(
        self, events: list[Event], exc: StreamClosedError, frame: DataFrame
    ) -> tuple[list[Frame], list[Event]]:
        ours = not exc._events and self._stream_closed_by(exc.stream_id) is StreamClosedBy.SEND_RST_STREAM
        frames, found = super()._handle_data_on_closed_stream(events, exc, frame)
        return [each for each in frames if not (ours and isinstance(each, RstStreamFrame))], found
