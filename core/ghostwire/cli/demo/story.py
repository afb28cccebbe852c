"""What happens in the demo, step by step, and what is said about it."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ghostwire.cli.demo import cast
from ghostwire.cli.demo.cast import Actor, Node, Server, wait_for
from ghostwire.cli.demo.stage import Stage
from ghostwire.cli.demo.traffic import ping, transfer
from ghostwire.errors import GhostwireError, PlatformError

NODES = ("alice", "bob", "carol")
CUT_OFF = "dave"
TRANSFER_SECONDS = 2.5


class Narrator:
    """Prints each step with the time it was reached."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.step = "making the network"

    def say(self, text: str) -> None:
        """A step that is done."""
        click.echo(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    @contextlib.contextmanager
    def doing(self, step: str) -> Iterator[None]:
        """Name what is being tried, for the line that says what failed."""
        self.step = step
        yield


def tell() -> bool:
    """Play the demo; whether all of it worked. All is cleaned up in any case."""
    narrator = Narrator()
    actors: list[Actor] = []
    click.echo("GhostWire demo: a server and four nodes, each in a network namespace of its own")
    try:
        cast.environment()
        with tempfile.TemporaryDirectory(prefix="ghostwire-demo-") as folder:
            try:
                _play(narrator, actors, Path(folder))
            except (GhostwireError, OSError) as error:
                _explain(narrator, actors, error)
                return False
            finally:
                cast.close(actors)
    except GhostwireError as error:
        click.echo(f"demo: failed while {narrator.step}: {error}", err=True)
        return False
    narrator.say("cleaned up: processes, interfaces, namespaces and the folder are gone")
    click.echo("demo: ok")
    return True


def _explain(narrator: Narrator, actors: list[Actor], error: Exception) -> None:
    for actor in actors:
        for line in actor.tail():
            click.echo(f"  {actor.place.name}: {line}", err=True)
    click.echo(f"demo: failed while {narrator.step}: {error}", err=True)


def _play(narrator: Narrator, actors: list[Actor], folder: Path) -> None:
    stage = Stage()
    with contextlib.closing(stage):
        server = Server(stage, stage.place("server"), folder)
        nodes = [Node(stage, stage.place(name), folder) for name in NODES]
        cut_off = Node(stage, stage.place(CUT_OFF, udp=False), folder)
        narrator.say(f"network: {len(stage.places)} namespaces on one switch, {server.place.address} is the server's;")
        narrator.say(f"         where {CUT_OFF} is, no UDP packet comes in or goes out, only TCP")
        actors.append(server)
        _start_server(narrator, server)
        actors.extend([*nodes, cut_off])
        _enrol(narrator, server, [*nodes, cut_off])
        _ping_everybody(narrator, stage, nodes)
        directly = _transfer(narrator, stage, nodes[0], nodes[2], relayed=False)
        _show(narrator, nodes[0], "status")
        _go_through_the_relay(narrator, stage, cut_off, nodes[0], directly)
        _restart_without_server(narrator, stage, server, nodes)
        _leave(narrator, stage, [*nodes, cut_off])


def _start_server(narrator: Narrator, server: Server) -> None:
    with narrator.doing("starting the server"):
        server.start()
        narrator.say(f"server: `ghostwire server` is up at {server.url}")


def _enrol(narrator: Narrator, server: Server, nodes: list[Node]) -> None:
    with narrator.doing("making a join token"):
        token = server.join_token("demo")
        narrator.say(f"join token: {len(token)} characters, made by `gwctl preauthkeys create --user demo --reusable`")
    with narrator.doing("enrolling the nodes"), ThreadPoolExecutor(len(nodes)) as pool:
        for node in nodes:
            node.spawn()
        for node in nodes:
            node.ready()
        list(pool.map(lambda node: node.join(token), nodes))
        for node in nodes:
            wait_for(f"{node.place.name} knows the others", lambda: node.is_running_with(len(nodes) - 1))  # noqa: B023
            narrator.say(f"node {node.place.name}: enrolled, {' and '.join(node.addresses())}")


def _ping_everybody(narrator: Narrator, stage: Stage, nodes: list[Node]) -> None:
    for source in nodes:
        for target in nodes:
            if source is not target:
                _ping(narrator, stage, source, target)


def _ping(narrator: Narrator, stage: Stage, source: Node, target: Node) -> None:
    names = f"{source.place.name} -> {target.place.name}"
    with narrator.doing(f"pinging {names}"):
        found = []
        for address in target.addresses():
            times = ping(stage, source.place, address)
            found.append(f"{address} {min(times) * 1000:.2f} ms")
        narrator.say(f"ping {names}: {', '.join(found)}")


def _transfer(
    narrator: Narrator, stage: Stage, source: Node, target: Node, *, relayed: bool, beside: str = ""
) -> float:
    """Send for a while over such a path and say how much arrived; bits a second."""
    names = f"{source.place.name} -> {target.place.name}"
    with narrator.doing(f"looking for a {'relayed' if relayed else 'direct'} path {names}"):
        wait_for("it is found", lambda: source.has_path(target.place.name, relayed=relayed))
        narrator.say(f"path {names}: {'over the relay' if relayed else 'direct; the session began over the relay'}")
    with narrator.doing(f"sending over TCP {names}"):
        address = target.addresses()[0]
        arrived, seconds = transfer(stage, source.place, target.place, address, seconds=TRANSFER_SECONDS)
        if not arrived:
            raise PlatformError("nothing arrived")
        rate = arrived * 8 / seconds
        narrator.say(f"tcp {names}: {arrived / 2**20:.0f} MiB in {seconds:.1f} s, {_mbit(rate)}{beside}")
        return rate


def _mbit(rate: float) -> str:
    return f"{rate / 1e6:.0f} Mbit/s"


def _show(narrator: Narrator, node: Node, command: str) -> None:
    with narrator.doing(f"asking {node.place.name} for the {command}"):
        narrator.say(f"on {node.place.name}, `gwctl {command}` says:")
        click.echo("".join(f"    {line}\n" for line in node.gwctl(command).rstrip().splitlines()), nl=False)


def _go_through_the_relay(narrator: Narrator, stage: Stage, source: Node, target: Node, directly: float) -> None:
    """What the node without UDP has: the relay in the server, over the server's own port."""
    with narrator.doing(f"asking {source.place.name} what its network is like"):
        found = source.netcheck()
        if found["udp"] or not found["regions"]:
            raise PlatformError("UDP gets through, which was cut off" if found["udp"] else "it knows no relay")
        latency = found["regions"][0]["https_ms"]
        narrator.say(f"on {source.place.name}, `gwctl netcheck` says: no UDP; HTTPS to the relay takes {latency} ms")
    _ping(narrator, stage, source, target)
    _ping(narrator, stage, target, source)
    beside = f" through the relay in the server; {_mbit(directly)} without one"
    _transfer(narrator, stage, source, target, relayed=True, beside=beside)
    _show(narrator, source, "status")


def _restart_without_server(narrator: Narrator, stage: Stage, server: Server, nodes: list[Node]) -> None:
    first, second = nodes[:2]
    with narrator.doing("stopping the server"):
        server.stop()
        narrator.say("server: stopped; the mesh has to do without it now")
    with narrator.doing(f"restarting {second.place.name} while the server is down"):
        second.stop(signal.SIGKILL)
        second.start()
        wait_for(f"{second.place.name} is back", lambda: second.is_running_with(len(NODES)))
        narrator.say(f"node {second.place.name}: killed and restarted from what it keeps on disk")
    _ping(narrator, stage, second, first)
    _ping(narrator, stage, first, second)


def _leave(narrator: Narrator, stage: Stage, nodes: list[Node]) -> None:
    with narrator.doing("ending the nodes"):
        with ThreadPoolExecutor(len(nodes)) as pool:
            codes = list(pool.map(Node.stop, nodes))
        for node, code in zip(nodes, codes, strict=True):
            left = node.place.interfaces(stage) - {"lo", "eth0"}
            if code or left:
                raise PlatformError(f"{node.place.name} ended with status {code} and left {sorted(left) or 'nothing'}")
        narrator.say("nodes: ended, no interface left behind")
