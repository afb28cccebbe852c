"""`gwctl ping`: whether a peer answers, how quickly, and over which path."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.errors import INTERRUPTED
from ghostwire.cli.tables import as_json, plain, print_json
from ghostwire.cli.ways import over
from ghostwire.errors import GhostwireError, Unavailable

COUNT, INTERVAL = 4, 1.0
"""How many pings, and the seconds between two."""
IMPATIENT, DEADLINE = 0.2, 30.0
"""With --until-direct: the seconds between two pings, and after which it gives up."""
MARGIN = 5.0
"""Seconds that a request may take beyond the time the daemon itself was given."""
_SOME = click.FloatRange(0, min_open=True)


@dataclass(frozen=True)
class Order:
    """What was asked for; None stands for no bound. Times are in seconds."""

    peer: str
    count: int | None
    interval: float
    timeout: float
    deadline: float | None
    until_direct: bool
    quiet: bool


@dataclass
class Record:
    """What came of it so far; an answer is what the daemon's local API gave, None where none came."""

    began: float = field(default_factory=lambda: time.monotonic())
    answers: list[dict[str, Any] | None] = field(default_factory=list)
    reason: str = ""
    """Why the last one that was not answered was not."""

    @property
    def answered(self) -> Sequence[dict[str, Any]]:
        """The answers that came."""
        return [answer for answer in self.answers if answer is not None]

    @property
    def direct(self) -> bool:
        """Whether the last answer came over a direct path."""
        path = (self.answers[-1] or {}).get("path") if self.answers else None
        return path is not None and not path["relayed"]

    @property
    def elapsed(self) -> float:
        """Seconds since the first ping."""
        return time.monotonic() - self.began


@click.command()
@click.argument("peer", shell_complete=completion.peers)
@click.option("-c", "--count", type=click.IntRange(1), help=f"How many pings.  [default: {COUNT}]")
@click.option("-i", "--interval", type=click.FloatRange(0), metavar="SECONDS", help="Time between two.  [default: 1]")
@click.option("-W", "--timeout", type=_SOME, default=5.0, metavar="SECONDS", help="Wait for an answer.  [default: 5]")
@click.option("-w", "--deadline", type=_SOME, metavar="SECONDS", help="End after so long.")
@click.option("--until-direct", is_flag=True, help="Ping until an answer comes over a direct path.")
@as_json
@click.pass_context
def ping(
    context: click.Context,
    peer: str,
    count: int | None,
    interval: float | None,
    timeout: float,
    deadline: float | None,
    until_direct: bool,
    json_: bool,
) -> None:
    """Send echo requests through the mesh to PEER (a name or a mesh address).

    Each answer is shown with the path over which it came, which may be another than the question's. With
    --until-direct it pings every 0.2 s for at most 30 s, unless -i, -c or -w say otherwise.

    Exit code: 0 at least one was answered (with --until-direct: directly), 1 with --until-direct only over a relay,
    7 none was answered, 130 interrupted.
    """
    if count is None and deadline is None:
        count, deadline = (None, DEADLINE) if until_direct else (COUNT, None)
    if interval is None:
        interval = IMPATIENT if until_direct else INTERVAL
    order = Order(peer, count, interval, timeout, deadline, until_direct, quiet=json_)
    record, interrupted = Record(), False
    try:
        _ping_all(NodeApi(context.obj.folders), order, record)
    except KeyboardInterrupt:
        interrupted = True
    (print_json if json_ else _print_summary)(_summary(order, record))
    if interrupted:
        context.exit(INTERRUPTED)
    _judge(order, record)


def _ping_all(api: NodeApi, order: Order, record: Record) -> None:
    if not order.quiet:
        click.echo(f"pinging {order.peer}{' until an answer comes directly' if order.until_direct else ''}")
    for number in itertools.count(1):
        began = time.monotonic()
        record.answers.append(_ping_once(api, order, record))
        pause = max(0.0, order.interval - (time.monotonic() - began))
        if number == order.count or (order.until_direct and record.direct) or _late(order, record, pause):
            return
        time.sleep(pause)


def _late(order: Order, record: Record, pause: float) -> bool:
    return order.deadline is not None and record.elapsed + pause >= order.deadline


def _ping_once(api: NodeApi, order: Order, record: Record) -> dict[str, Any] | None:
    timeout = order.timeout
    if order.deadline is not None:
        timeout = max(0.001, min(timeout, order.deadline - record.elapsed))
    try:
        answer = api.post("/v1/ping", {"target": order.peer, "timeout": timeout}, timeout=timeout + MARGIN)
    except Unavailable as error:
        if not api.answers():
            raise
        _tell(order, record, str(error))
        return None
    if not order.quiet:
        click.echo(_line(answer))
    return answer


def _tell(order: Order, record: Record, reason: str) -> None:
    """No answer came; why is said where it was not said just before."""
    why = f": {plain(reason)}" if reason != record.reason else ""
    click.echo(f"no answer from {order.peer}{why}", err=True)
    record.reason = reason


def _line(answer: Mapping[str, Any]) -> str:
    path = answer.get("path")
    via = f" over {over(path)}" if path else ""
    return plain(f"answer from {answer['name']} ({answer['address']}){via}: {answer['rtt_ms']:.2f} ms")


def _summary(order: Order, record: Record) -> dict[str, Any]:
    """Counts, round trips in milliseconds, and seconds; the same for people and programs."""
    times = [answer["rtt_ms"] for answer in record.answered]
    return {
        "sent": len(record.answers),
        "received": len(times),
        "min_ms": min(times, default=None),
        "avg_ms": round(sum(times) / len(times), 3) if times else None,
        "max_ms": max(times, default=None),
        "direct": record.direct,
        "seconds": round(record.elapsed, 3),
        "answers": record.answers,
    }


def _print_summary(summary: Mapping[str, Any]) -> None:
    times = ""
    if summary["received"]:
        times = ", min/avg/max " + "/".join(f"{summary[f'{name}_ms']:.2f}" for name in ("min", "avg", "max")) + " ms"
    click.echo(f"{summary['sent']} sent, {summary['received']} received{times}")


def _judge(order: Order, record: Record) -> None:
    """Raise what makes the exit code, or say that the peer is reached directly."""
    if not record.answered:
        raise Unavailable(f"{order.peer} did not answer")
    if not order.until_direct:
        return
    tries = f"after {len(record.answers)} ping{'s' if len(record.answers) > 1 else ''}, {record.elapsed:.1f} s"
    if not record.direct:
        raise GhostwireError(f"{order.peer} is still relayed {tries}; see: gwctl debug paths {order.peer}")
    if not order.quiet:
        click.echo(f"direct {tries}")
