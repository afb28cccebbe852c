"""STUN requests from the bare transport's own socket, and their answers: any number of rounds at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ghostwire import Buffer, Path, Transport
from ghostwire.driver import Driver
from ghostwire.engine import Clock, Entropy
from ghostwire.node.netcheck.plan import Probe
from ghostwire.node.netcheck.round import Mapped, Round
from ghostwire.wire.stun import HEADER_BYTES, TRANSACTION_BYTES, mapped_address

Heard = Callable[[str, Mapped], object]
"""Is told of an answer: which relay's endpoint gave it, and where that relay sees this node."""

_TRANSACTION = slice(HEADER_BYTES - TRANSACTION_BYTES, HEADER_BYTES)


class Asking:
    """Runs rounds. ``sender`` sends to bare addresses; None: STUN is not possible. ``heard`` is told every answer."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock, self._entropy = clock, entropy
        self._rounds: dict[Round, Driver] = {}
        self.sender: Transport | None = None
        self.heard: Heard = _nobody

    async def ask(self, probes: Sequence[Probe], **options: Any) -> Round:
        """Send what is to be sent, until the round is done; ``options`` are the round's own."""
        round_ = Round(probes if self.sender is not None else (), self._entropy, self._clock.now(), **options)
        over = asyncio.Event()

        def drain() -> None:
            for probe, request in round_.drain():
                if not self._send(probe.endpoint, request):
                    round_.unsendable(probe)
            if round_.done:
                over.set()

        driver = self._rounds[round_] = Driver(round_, self._clock, drain)
        try:
            driver.settle()
            await over.wait()
        finally:
            driver.close()
            del self._rounds[round_]
        return round_

    def receive(self, source: Path, datagram: Buffer) -> None:
        """A STUN datagram arrived."""
        transaction = bytes(datagram[_TRANSACTION])
        round_ = next((each for each in self._rounds if each.expects(transaction)), None)
        answer = mapped_address(datagram) if round_ is not None and not source.relayed else None
        if round_ is None or answer is None or not answer[2]:
            return
        mapped = answer[1:]
        probe = round_.answered(transaction, mapped, self._clock.now())
        self._rounds[round_].settle()
        if probe is not None:
            self.heard(probe.endpoint, mapped)

    def _send(self, endpoint: str, request: bytes) -> bool:
        try:
            return self.sender is not None and self.sender.path(endpoint).send([request])
        except ValueError:
            return False


def _nobody(relay: str, mapped: Mapped) -> None:
    """Where nobody listens."""
