"""What the types of settings cannot say: a check for each, which raises ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def split_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (``[V6]:PORT``, ``:PORT`` for all addresses) into its parts; ValueError says what is wrong."""
    parts = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]*)):([0-9]{1,5})", text)
    if parts is None or int(parts[3]) > 65535:
        raise ValueError(f"expected HOST:PORT, for instance 0.0.0.0:8080, not {text!r}")
    return parts[1] or parts[2] or "0.0.0.0", int(parts[3])


def _server_url(text: str) -> None:
    from ghostwire.wire.serverurl import ServerUrl

    try:
        if text:
            ServerUrl.parse(text)
    except ValueError:
        raise ValueError(f"expected a URL like https://mesh.example.com:8080, not {text!r}") from None


def check_map_url(url: str) -> None:
    """ValueError unless nobody on the way can change what this URL gives: https://, or http:// to this machine."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username is not None:
        raise ValueError("expected a URL without user and password: it is shown in logs")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError(f"expected an https:// URL, or http:// to this machine, not {url!r}")


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _derp_map(place: str) -> None:
    if "://" in place:
        check_map_url(place)


def _endpoints(texts: Sequence[str]) -> None:
    """Each is an address and a port at which another machine can reach this one."""
    from ghostwire.wire.endpoint import parse_endpoint

    if len(texts) > MAX_ENDPOINTS:
        raise ValueError(f"at most {MAX_ENDPOINTS} endpoints are advertised, not {len(texts)}")
    for text in texts:
        try:
            host, _ = parse_endpoint(text)
        except ValueError:
            raise ValueError(f"expected ADDRESS:PORT, for instance 203.0.113.7:41641, not {text!r}") from None
        of_no_machine = host.is_multicast or host.is_unspecified or (host.version == 4 and host.is_reserved)
        if of_no_machine or host.is_loopback or host.is_link_local:
            raise ValueError(f"no other machine can reach this one at {text}")


def _routes(texts: Sequence[str]) -> None:
    """Each is a prefix that a node can pass packets on to."""
    from ghostwire.wire.prefixes import is_default, parse_prefix, unroutable

    if len(texts) > MAX_ROUTES:
        raise ValueError(f"at most {MAX_ROUTES} routes are offered, not {len(texts)}")
    for text in texts:
        prefix = parse_prefix(text)
        if is_default(prefix):
            raise ValueError(f"{text} is offered by: exit_node = true")
        if why := unroutable(prefix):
            raise ValueError(f"{text}: {why}")


def _prefix(version: int, longest: int) -> Callable[[str], object]:
    def check(text: str) -> None:
        from ipaddress import ip_network

        if not text:
            return
        prefix = ip_network(text)
        if prefix.version != version or prefix.prefixlen > longest:
            raise ValueError(f"expected an IPv{version} prefix of at most /{longest}, not {text!r}")

    return check


def _matching(pattern: str, what: str) -> Callable[[str], object]:
    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {what}, not {text!r}")

    return check


def check_storage(text: str) -> None:
    """ValueError where this is neither a storage's name nor a URL; it may hold a password, so it is not repeated."""
    if "://" not in text and not re.fullmatch(r"[a-z][a-z0-9_-]*", text):
        raise ValueError("expected a storage's name or a URL: sqlite:////PATH/TO/FILE or postgresql://USER@HOST/NAME")


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

MAX_ENDPOINTS = 8
"""Endpoints that may be configured: a node advertises twice as many, found ones among them."""

MAX_ROUTES = 250
"""Routes that may be configured; those of an exit node come on top."""

CHECKS: Mapping[tuple[str, str], Callable[[Any], object]] = {
    ("server", "listen"): split_listen,
    ("server", "url"): _server_url,
    ("server", "domain"): _matching(rf"{_LABEL}(\.{_LABEL})*", "a domain name in lower case"),
    ("server", "region"): _matching(r"\S(.{0,62}\S)?", "a name of at most 64 characters"),
    ("server", "derp_map"): _derp_map,
    ("server", "storage"): check_storage,
    ("server", "ipv4"): _prefix(4, 29),
    ("server", "ipv6"): _prefix(6, 64),
    ("node", "interface"): _matching(r"[A-Za-z0-9_.-]{1,15}", "an interface name of 1 to 15 letters and digits"),
    ("node", "hostname"): _matching(rf"({_LABEL})?", "a host name of lower-case letters, digits and hyphens"),
    ("node", "endpoints"): _endpoints,
    ("node", "routes"): _routes,
    ("relay", "listen"): split_listen,
}
