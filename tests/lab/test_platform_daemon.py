"""What running daemons do to their Linux machines: the system's firewall and its loss, clean-ups, and going down."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from natlab import Lab
from programs import CROWDED, Mesh, Node, wait_for

WITHOUT_NFT = ("unshare", "-m", "sh", "-c", f'mount --bind /dev/null {shutil.which("nft")} && exec "$@"', "sh")
OPEN, SHUT = 7007, 7008
POLICY = f'{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["*:{OPEN}"]}}]}}'
pytestmark = pytest.mark.usefixtures("tun")


@pytest.fixture(scope="module")
def mesh(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The nodes alice and bob, whose systems are to filter; ports `OPEN` are open, others are not."""
    made = Mesh(make_lab(), tmp_path_factory.mktemp("mesh"), "alice", "bob")
    for node in made.nodes.values():
        node.config.write_text('[node]\nfilter = "kernel"\n')
    made.start("alice", "bob")
    made.server.gwctl("policy", "set", "-", "--yes", stdin=POLICY)
    return made


def tables(node: Node) -> list[str]:
    done = node.lab.run(node.member, ["nft", "list", "tables"])
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def run_again(node: Node, wrapper: Sequence[str] = ()) -> None:
    """Start a node that was in the mesh, and wait until it is in it again."""
    node.spawn(wrapper)
    node.ready()
    wait_for(f"{node.member} is back", lambda: node.knows({"alice": "bob", "bob": "alice"}[node.member]), CROWDED)


def accepts(here: Node, there: Node, port: int, version: int = 4) -> bool:
    """Whether a stream from the one reaches a port of the other."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    service, client = (node.lab.socket(node.member, family, socket.SOCK_STREAM) for node in (there, here))
    with service, client:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((there.address(version), port))
        service.listen()
        client.settimeout(1)
        return client.connect_ex(service.getsockname()[:2]) == 0


def test_the_system_filters_without_the_daemons_help(mesh: Mesh) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    for version in (4, 6):
        wait_for("the open port", lambda: accepts(alice, bob, OPEN, version), CROWDED)  # noqa: B023
        wait_for("the policy is in force", lambda: not accepts(alice, bob, SHUT, version), CROWDED)  # noqa: B023
    assert tables(bob) == ["table inet ghostwire_gw0"]
    assert not bob.status().get("filter_trouble")


def test_a_cleanup_beside_a_running_daemon_is_refused_in_one_line_and_touches_nothing(mesh: Mesh) -> None:
    bob = mesh["bob"]
    before = bob.leftovers()
    done = bob.lab.run("bob", [*bob.words(), "--cleanup"])
    assert done.returncode != 0
    assert done.stderr == f"error: a node is already running (pid {bob.pid}); stop it, or pass --state for another\n"
    assert not done.stdout
    assert bob.leftovers() == before
    other = bob.lab.run("bob", [*bob.words()[:-3], "--state", str(bob.state) + "-2", "client", "--cleanup"])
    assert (other.returncode, other.stdout) == (0, "nothing to remove\n"), other.stderr
    assert bob.leftovers() == before


def test_without_nft_the_daemon_filters_by_itself_and_says_so_loudly(mesh: Mesh) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    bob.end()
    run_again(bob, WITHOUT_NFT)
    wait_for("the open port", lambda: accepts(alice, bob, OPEN), CROWDED)
    wait_for("the policy is in force", lambda: not accepts(alice, bob, SHUT), CROWDED)
    trouble = "nft is missing; install nftables, or set [node] filter to userspace"
    assert re.search(
        rf"error.* the system's firewall does not filter, so this program does: {re.escape(trouble)}", bob.text(), re.I
    )
    assert trouble in bob.status()["filter_trouble"]
    assert trouble in bob.gwctl("status")
    assert tables(bob) == []
    bob.end()
    run_again(bob)
    wait_for("the system filters again", lambda: tables(bob) == ["table inet ghostwire_gw0"], CROWDED)


def test_going_down_leaves_no_table_rule_or_route_and_coming_up_brings_them_back(mesh: Mesh) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    wait_for("the system filters", lambda: tables(bob) == ["table inet ghostwire_gw0"], CROWDED)
    bob.gwctl("down")
    assert (tables(bob), rules(bob)) == ([], [])
    assert [each for each in bob.leftovers() if not each.endswith("node.sock")] == []
    bob.gwctl("up")
    wait_for("the open port", lambda: accepts(alice, bob, OPEN), CROWDED)
    assert not accepts(alice, bob, SHUT)


def test_a_killed_nodes_table_goes_by_cleanup_or_at_the_next_start(mesh: Mesh) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    bob.end(signal.SIGKILL)
    assert (tables(bob), bool(rules(bob))) == (["table inet ghostwire_gw0"], True)
    done = bob.lab.run("bob", [*bob.words(), "--cleanup"])
    assert "remove nftables table inet ghostwire_gw0\n" in done.stdout
    assert (tables(bob), rules(bob)) == ([], [])
    alice.end(signal.SIGKILL)
    for node in (bob, alice):
        run_again(node)
    for here, there in ((bob, alice), (alice, bob)):
        wait_for("the open port", lambda: accepts(here, there, OPEN), CROWDED)  # noqa: B023
        assert not accepts(here, there, SHUT)


def rules(node: Node) -> list[str]:
    """The ip rules that are not the system's own."""
    shown = [node.lab.run(node.member, ["ip", family, "rule"]).stdout.splitlines() for family in ("-4", "-6")]
    return [line for lines in shown for line in lines if line.partition(":")[0] not in ("0", "32766", "32767")]


def test_the_binary_that_is_hidden_is_the_one_that_daemons_use() -> None:
    from ghostwire_net_linux.command import nft_path

    assert nft_path() == shutil.which("nft")
    assert Path(str(nft_path())).exists()
