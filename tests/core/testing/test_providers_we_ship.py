"""Every provider that comes with GhostWire keeps the rules of its capability, as the kit finds and judges it."""

import pytest

from ghostwire.config import Config
from ghostwire.plugins import loader
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection
from ghostwire.testing.conformance import find
from ghostwire.testing.conformance.generic import contract_for
from ghostwire.testing.conformance.subject import HOOKS

STREAMS = "a_stranger_whose_stream_never_ends_and_who_reads_nothing_costs_bounded_memory"
"""Is asked of who listens for streams; ours take datagrams, or dial."""
OURS: dict[tuple[str, str], set[str]] = {
    ("transport", "udp"): {STREAMS},
    ("transport", "quic"): {STREAMS},
    ("transport", "derp"): {
        STREAMS,
        "it_says_so_when_it_carries_nothing_any_more",
        "rubbish_from_strangers_is_no_peers_datagram_and_does_no_harm",
        "an_idle_transport_is_silent",
        "a_peer_that_hangs_costs_bounded_memory_and_time",
    },
    ("tunnel", "userspace"): set(),
    ("platform", "linux"): set(),
    ("authenticator", "auth_key"): set(),
    ("storage", "sql"): set(),
    ("policy", "acl"): set(),
}
"""Each provider, and the rules that are not asked of it."""


def judged(capability: str, name: str) -> tuple[dict[str, str], set[str]]:
    """Rule -> why it is broken, and the rules that were skipped."""
    contract = contract_for(find(capability, name))
    broken, skipped = {}, set()
    for rule in contract.rules():
        try:
            getattr(contract(), f"test_{rule}")()
        except pytest.skip.Exception:
            skipped.add(rule)
        except (Exception, pytest.fail.Exception) as error:
            broken[rule] = str(error) or type(error).__name__
    return broken, skipped


@pytest.mark.parametrize(
    ("capability", "name"),
    [pytest.param(*each, marks=[pytest.mark.lab] if each[0] == "platform" else []) for each in OURS],
)
def test_it_keeps_the_rules(capability: str, name: str) -> None:
    broken, skipped = judged(capability, name)
    assert broken == {}
    assert skipped == OURS[capability, name]


def test_none_is_left_out() -> None:
    plugins = loader.installed()
    host = Host.inspect(Selection(Config(), tuple(plugins)))
    offers = {(kind, offer) for kind, hook in HOOKS.items() for offer in host.offers(hook)}
    assert {(kind, offer.name) for kind, offer in offers if plugins[offer.plugin].ours} == set(OURS)
