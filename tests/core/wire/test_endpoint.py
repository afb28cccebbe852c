"""The text of an IP endpoint."""

import pytest

from ghostwire.wire.endpoint import format_endpoint, parse_endpoint


@pytest.mark.parametrize("text", ["192.0.2.1:41641", "[2001:db8::1]:1", "0.0.0.0:65535"])
def test_what_is_written_is_read_again(text: str) -> None:
    host, port = parse_endpoint(text)
    assert format_endpoint(str(host), port) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:٣",
        "192.0.2.1:+1",
        "192.0.2.256:1",
        "192.0.2.01:1",
        "[192.0.2.1]:1",
        "2001:db8::1:1",
        "[fe80::1%eth0]:1",
        "relay.example:1",
        "192.0.2.1:1\n",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an endpoint|no such port|Octet|Expected|permitted|At least"):
        parse_endpoint(text)
