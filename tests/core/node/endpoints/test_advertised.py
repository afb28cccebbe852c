"""The arithmetic of what a node advertises."""

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.node.endpoints.advertised import MAX_SEEN, Known, advertised, shared
from ghostwire.wire.messages import MAX_ENDPOINTS

TEXTS = st.lists(st.sampled_from([f"192.0.2.{number}:{port}" for number in range(30) for port in (1, 2)]), max_size=30)


def anything(text: str) -> bool:
    return True


def test_the_best_is_first() -> None:
    known = Known(
        configured=("198.51.100.1:1",),
        mapped="203.0.113.7:2",
        local=("10.0.0.2:41641", "[2001:db8::2]:41641"),
        seen=("203.0.113.7:3", "[2001:db8::9]:4"),
        varies=True,
        fixed=True,
    )
    assert advertised(known, anything) == (
        "198.51.100.1:1",
        "203.0.113.7:2",
        "10.0.0.2:41641",
        "[2001:db8::2]:41641",
        "203.0.113.7:3",
        "[2001:db8::9]:4",
        "203.0.113.7:41641",
    )


def test_the_local_port_is_guessed_only_where_the_mapping_varies_and_the_port_is_fixed() -> None:
    for varies, fixed in ((False, True), (True, False), (False, False)):
        known = Known(local=("10.0.0.2:41641",), seen=("203.0.113.7:3",), varies=varies, fixed=fixed)
        assert advertised(known, anything) == ("10.0.0.2:41641", "203.0.113.7:3")


def test_local_addresses_give_way_where_there_are_many() -> None:
    local = tuple(f"10.0.0.{number}:1" for number in range(30))
    known = Known(configured=("198.51.100.1:1",), local=local, seen=("203.0.113.7:3",))
    assert advertised(known, anything) == ("198.51.100.1:1", *local[: MAX_ENDPOINTS - 2], "203.0.113.7:3")


def test_a_public_address_among_many_local_ones_is_kept_and_stands_once() -> None:
    local = (*(f"10.0.0.{number}:1" for number in range(30)), "203.0.113.7:1")
    found = advertised(Known(local=local, seen=("203.0.113.7:1",)), anything)
    assert found == (*local[: MAX_ENDPOINTS - 1], "203.0.113.7:1")


@given(configured=TEXTS, local=TEXTS, seen=TEXTS, varies=st.booleans(), forbidden=TEXTS)
def test_there_are_never_too_many_nor_two_alike_nor_any_that_is_forbidden(
    configured: list[str], local: list[str], seen: list[str], varies: bool, forbidden: list[str]
) -> None:
    known = Known(configured=configured, local=local, seen=seen, varies=varies, fixed=True)
    found = advertised(known, lambda text: text not in forbidden)
    assert len(found) == len(set(found)) <= MAX_ENDPOINTS
    assert not set(found) & set(forbidden)
    if len({*configured, *local}) <= MAX_ENDPOINTS - MAX_SEEN:
        assert set(found) >= {*configured, *local} - set(forbidden)


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), TEXTS.map(tuple)), max_size=5))
def test_every_transport_has_its_share(offers: list[tuple[str, tuple[str, ...]]]) -> None:
    found = shared(offers)
    assert len(found) <= MAX_ENDPOINTS
    for name, texts in offers:
        wanted = min(len(texts), MAX_ENDPOINTS // len(offers))
        assert sum(endpoint.transport == name for endpoint in found) >= wanted


def test_the_first_transport_has_what_the_others_leave() -> None:
    many = tuple(f"192.0.2.{number}:1" for number in range(30))
    found = shared([("udp", many), ("quic", ("192.0.2.1:2",))])
    assert [endpoint.transport for endpoint in found] == ["udp"] * 15 + ["quic"]
