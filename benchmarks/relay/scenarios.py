"""What is measured of a relay; every scenario takes one that runs, and gives metrics by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from benchmarks.footprint.process import cpu_time, rss
from benchmarks.relay.client import Client, Connection
from benchmarks.relay.load import CHUNK, HEAD, Load, Measured, Receiver, Sender
from benchmarks.relay.probe import Probe
from benchmarks.relay.relays import Running

from ghostwire_derp import frames

PAYLOAD, SMALL = 1400, 64
CONNECTED, PAIRS, EVERYBODY = 1000, 100, 20
LOWEST = {PAYLOAD: 20e3, SMALL: 50e3}
"""Frames a second at which the search for a scenario's best rate begins."""
GIGABIT = 1e9 / 8 / PAYLOAD
"""Frames a second."""
Metrics = dict[str, float]
Pair = Sequence[Connection]
_buffer = bytearray(CHUNK + HEAD + PAYLOAD)


class Scenarios:
    """All scenarios of one relay. A scenario's best rate is looked for once, and kept for all rounds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rates: dict[str, float | None] = {}

    def one_flow(self, relay: Running) -> Metrics:
        """Packets of one client to another; and what a GB of them costs the relay."""
        used: list[float] = []
        with _clients(relay, 2) as pair:
            most = self._best("one_flow", flows([pair]), lambda: used.append(-cpu_time(relay.pid) / 1e9))
        used.append(cpu_time(relay.pid) / 1e9)
        return _goodput("one_flow", most) | {"cpu": sum(used) / (most.gigabits / 8 * self._seconds)}

    def small_packets(self, relay: Running) -> Metrics:
        """64 bytes each, from one client to another."""
        with _clients(relay, 2) as pair:
            return {"frames_per_second": self._best("frames_per_second", flows([pair], SMALL)).received}

    def one_flow_tls(self, relay: Running) -> Metrics:
        """One client to another, both over TLS."""
        with _clients(relay, 2) as pair:
            return _goodput("one_flow_tls", self._best("one_flow_tls", flows([pair])))

    def all_to_all(self, relay: Running) -> Metrics:
        """Each of 20 clients to all others in turn."""
        with _clients(relay, EVERYBODY) as clients:
            senders = [Sender(one, [other.key for other in clients if other is not one], PAYLOAD) for one in clients]
            load = Load(senders, [Receiver(client, PAYLOAD, _buffer) for client in clients])
            return _goodput("all_to_all", self._best("all_to_all", load))

    def crowd(self, relay: Running) -> Metrics:
        """1,000 connected clients, of which 100 pairs are active: memory, goodput, latency, overload."""
        base = rss(relay.pid)
        with _clients(relay, CONNECTED) as clients:
            idle = rss(relay.pid)
            pairs = list(zip(clients[::2], clients[1::2], strict=True))
            most = self._best("clients_1000", flows(pairs[:PAIRS]))
            metrics = _goodput("clients_1000", most) | self._latencies(relay, pairs, most)
            metrics |= self._overload(pairs) | {"memory_loaded_mb": rss(relay.pid)}
        return metrics | {"memory_base_mb": base, "memory_per_client_kb": (idle - base) * 1e3 / CONNECTED}

    def _best(self, name: str, load: Load, begin: Callable[[], object] = bool) -> Measured:
        if name not in self._rates:
            self._rates[name] = load.best_rate(LOWEST[load.payload])
        return load.run(self._rates[name], self._seconds, begin)

    def _latencies(self, relay: Running, pairs: Sequence[Pair], most: Measured) -> Metrics:
        """Of packets beside 1 Gbit/s, beside half of what the relay can carry, and beside as much as it can."""
        metrics: Metrics = {}
        for name, rate in (
            ("latency", GIGABIT),
            ("latency_half", most.received / 2),
            ("latency_full", self._rates["clients_1000"]),
        ):
            with Probe(relay.port, self._seconds) as probe:
                loss = flows(pairs[:PAIRS]).run(rate, self._seconds, probe.begin).loss
                metrics |= {f"{name}_p50_ms": probe.quantile(0.5), f"{name}_p99_ms": probe.quantile(0.99)}
            metrics |= {"loss_at_1_gbit": loss * 100} if rate == GIGABIT else {}
        return metrics

    def _overload(self, pairs: Sequence[Pair]) -> Metrics:
        """How much of the maximum arrives where twice as much is offered, or all that two senders a receiver can.

        The maximum is that of ``clients_1000``, measured anew right before. Offered is what 200 senders try to write to
        100 receivers; what their sockets refuse, because the relay reads no faster, counts as offered. Goodput is what
        the receivers get meanwhile; they are read after every `AT_ONCE` turns of senders, however much is due.
        """
        crossed = [(pairs[PAIRS + number][0], pairs[number][1]) for number in range(PAIRS)]
        most = self._best("clients_1000", flows(pairs[:PAIRS])).received  # again: what else runs here may have changed
        metrics: Metrics = {}
        for name, rate in (("overload_goodput_ratio", 2 * most), ("unpaced_goodput_ratio", None)):
            metrics[name] = flows([*pairs[:PAIRS], *crossed]).run(rate, self._seconds).received / most
        return metrics


@contextlib.contextmanager
def _clients(relay: Running, count: int) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Client(relay.port, tls=relay.tls))) for _ in range(count)]


def flows(pairs: Sequence[Pair], payload: int = PAYLOAD, kind: int = frames.SEND_PACKET) -> Load:
    """From the first to the second of every pair."""
    senders = [Sender(sender, [receiver.key], payload, kind) for sender, receiver in pairs]
    receivers = {receiver.key: Receiver(receiver, payload, _buffer) for _, receiver in pairs}
    return Load(senders, list(receivers.values()))


def _goodput(name: str, measured: Measured) -> Metrics:
    return {name: measured.gigabits, f"{name}_loss": measured.loss * 100}
