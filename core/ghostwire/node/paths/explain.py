"""Puts a peer's path choice into words and figures."""

from __future__ import annotations

from ghostwire import Path
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.peer import PeerPaths
from ghostwire.node.paths.points import points
from ghostwire.node.paths.report import CandidateReport, Moment, PathsReport
from ghostwire.node.paths.shared import State


def explain(state: PeerPaths, name: str, now: int, *, connected: bool) -> PathsReport:
    """The report; ``connected`` says whether this node's home relay is."""
    found = [_candidate(state, each, now) for each in state.candidates]
    if state.relay is not None:
        found.append(_relay(state, connected=connected))
    return PathsReport(
        peer=state.id,
        name=name,
        state=state.state.value,
        why=_why(state),
        using=tuple(f"{path.transport} {path.endpoint}" for path in state.attached or ()),
        latency_ms=milliseconds(state.best.latency) if state.best is not None else None,
        candidates=tuple(sorted(found, key=lambda each: (each.state != "used", each.relayed, -each.points))),
        history=tuple(Moment(ago_s=_seconds(now - at), what=what) for at, what in state.history),
    )


def milliseconds(latency: int | None) -> float | None:
    """For people: two decimals."""
    return None if latency is None else round(latency / MILLISECOND, 2)


def _why(state: PeerPaths) -> str:
    if state.state is not State.SEARCHING:
        return state.why
    known, silent = len(list(state.candidates)), sum(each.silent for each in state.candidates)
    if not known:
        relay = "" if state.relay is not None else ", and there is no relay"
        return f"no address of it is known{relay}"
    if silent < known:
        return state.why
    return f"{state.why}; {'its address does not answer' if known == 1 else f'none of its {known} addresses answers'}"


def _candidate(state: PeerPaths, each: Candidate, now: int) -> CandidateReport:
    status, why = _judgement(state, each, now)
    return CandidateReport(
        transport=each.path.transport,
        endpoint=each.path.endpoint,
        relayed=False,
        learned=each.learned.value,
        state=status,
        latency_ms=milliseconds(each.latency),
        points=points(each, state.best if each is not state.best else None),
        pinged_s=None if each.pinged is None else _seconds(now - each.pinged),
        answered_s=None if each.answered is None else _seconds(now - each.answered),
        why=why,
    )


def _judgement(state: PeerPaths, each: Candidate, now: int) -> tuple[str, str]:
    """A candidate's state and what to say of it."""
    if each is state.best:
        return "used", state.why
    if each is state.guess and _used(state, each.path):
        return "used", "the best guess as long as no direct path is trusted"
    if each.barred > now:
        return "barred", f"answered pings and carried no packets; tried again in {_seconds(each.barred - now):.0f} s"
    if each.pinged is None:
        first = min(state.candidates, key=lambda other: other.rank)
        better = f": {first.path.transport} goes before {each.path.transport}" if first.rank < each.rank else ""
        return "untried", f"not pinged yet{better}"
    if each.silent:
        return "silent", "the last ping is not answered"
    if not each.carries:
        return "answers", "no ping of full size was answered"
    best = state.best
    if best is None:
        return "answers", "would be used if data moved" if state.state is State.ASLEEP else "about to be used"
    if each.rank != best.rank:
        return "answers", f"{best.path.transport} goes before {each.path.transport}"
    return "answers", f"{points(each, best)} points, the path in use has {points(best, each)}"


def _relay(state: PeerPaths, *, connected: bool) -> CandidateReport:
    assert state.relay is not None
    path = state.relay
    used = _used(state, path)
    return CandidateReport(
        transport=path.transport,
        endpoint=path.endpoint,
        relayed=True,
        learned="map",
        state="used" if used else "connected" if connected else "not connected",
        why="carries what no trusted direct path does" if used else "stands by",
    )


def _used(state: PeerPaths, path: Path) -> bool:
    return state.state is not State.ASLEEP and path in (state.attached or ())


def _seconds(duration: int) -> float:
    return round(duration / SECOND, 1)
