"""The transport's contract fails for transports that break one of its rules."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Buffer
from ghostwire.testing import MemoryTransport, Network, simulate
from ghostwire.testing.contracts import Contract, TransportContract
from ghostwire.testing.datagrams import MemoryPath

Verdicts = Callable[[Contract], dict[str, str]]


class Transports(TransportContract):
    run = staticmethod(simulate)
    kind: type[MemoryTransport] = MemoryTransport

    async def make(self) -> MemoryTransport:
        if not hasattr(self, "network"):
            self.network = Network()
        number = len(self.network.hosts) + 1
        return self.kind(self.network.host(f"host{number}", f"192.0.2.{number}"))


class _KeepsBuffers(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        asyncio.get_running_loop().call_soon(super().send, target, list(datagrams))
        return True


class _Joins(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [b"".join(bytes(datagram) for datagram in datagrams)])


class _IdentityPaths(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        class Odd(MemoryPath):
            __eq__ = object.__eq__
            __hash__ = object.__hash__

        return Odd(self, super().path(endpoint)._target)


class _AnswersNone(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        super().send(target, datagrams)
        return None  # type: ignore[return-value]


class _RaisesWhenFull(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        if not super().send(target, datagrams) and self._port is not None:
            raise BlockingIOError
        return True


class _NeverCloses(MemoryTransport):
    async def close(self) -> None:
        """Keeps the port open."""


class _AcceptsAnything(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        try:
            return super().path(endpoint)
        except ValueError:
            return MemoryPath(self, ("192.0.2.1", 1))


class _SmallOnly(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [bytes(datagram)[:1200] for datagram in datagrams])


class _AdvertisesNothing(MemoryTransport):
    def endpoints(self) -> Sequence[str]:
        return ()


class _AdvertisesBytes(MemoryTransport):
    def endpoints(self) -> Sequence[Any]:
        return [b"192.0.2.1:1"]


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_KeepsBuffers, "test_any_kind_of_buffer_is_sent_and_may_be_reused_at_once"),
        (_Joins, "test_datagrams_of_different_sizes_keep_their_borders"),
        (_IdentityPaths, "test_paths_to_the_same_end_are_equal_and_hash_alike"),
        (_AnswersNone, "test_a_send_never_raises_and_answers_yes_or_no"),
        (_RaisesWhenFull, "test_a_send_never_raises_and_answers_yes_or_no"),
        (_NeverCloses, "test_a_closed_transport_delivers_nothing_and_sends_nothing"),
        (_AcceptsAnything, "test_an_endpoint_that_makes_no_sense_is_a_value_error"),
        (_SmallOnly, "test_a_full_burst_of_full_datagrams_arrives_whole"),
        (
            _AdvertisesNothing,
            "test_a_running_transport_advertises_endpoints_as_short_text",
        ),
        (
            _AdvertisesBytes,
            "test_a_running_transport_advertises_endpoints_as_short_text",
        ),
    ],
)
def test_a_broken_transport_is_caught(kind: type[MemoryTransport], rule_name: str, verdicts: Verdicts) -> None:
    contract = Transports()
    contract.kind = kind
    assert rule_name in verdicts(contract)


def test_failures_are_words_and_not_only_values(verdicts: Verdicts) -> None:
    contract = Transports()
    contract.kind = _AcceptsAnything
    (text,) = verdicts(contract).values()
    assert "must be refused with ValueError, but nothing was raised" in text
