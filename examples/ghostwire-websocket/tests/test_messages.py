"""The codec: what goes in comes out, and nothing else is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire import BURST, SEALED_MTU
from ghostwire.errors import RemoteProtocolError
from ghostwire_websocket import messages
from ghostwire_websocket.endpoint import Endpoint
from ghostwire_websocket.settings import Settings


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=BURST))
def test_datagrams_come_out_as_they_went_in(datagrams):
    found = [bytes(d) for m in messages.messages(datagrams) for d in messages.parse_datagrams(memoryview(m)[1:])]
    assert found == datagrams


def test_a_burst_of_full_datagrams_is_one_message_and_no_message_is_too_large():
    assert len(list(messages.messages([bytes(SEALED_MTU)] * BURST))) == 1
    large = list(messages.messages([bytes(messages.MAX_DATAGRAM)] * 3))
    assert max(map(len, large)) <= messages.MAX_MESSAGE


@given(st.binary(max_size=300))
def test_any_bytes_are_datagrams_or_a_protocol_error(data):
    try:
        found = messages.parse_datagrams(memoryview(data))
    except RemoteProtocolError:
        return
    assert b"".join(len(each).to_bytes(2) + each for each in found) == data


@given(st.text(max_size=300))
def test_any_text_is_an_endpoint_or_a_value_error(text):
    for tried in (text, f"wss://{text}#{'0' * 64}", f"{text}#{'0' * 64}"):
        try:
            found = Endpoint.parse(tried)
        except ValueError:
            continue
        assert Endpoint.parse(str(found)) == found


@pytest.mark.parametrize(
    "wrong",
    [{"url": "wss://a/"}, {"listen": "127.0.0.1:1"}, {"listen": "nowhere", "url": "wss://a/"}],
    ids=["url-alone", "listen-alone", "no-port"],
)
def test_settings_that_make_no_sense_say_so(wrong):
    with pytest.raises(ValueError, match=r"listen|url"):
        Settings(**wrong)
