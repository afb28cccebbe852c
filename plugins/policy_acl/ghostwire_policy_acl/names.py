"""What rules name: everyone, users, groups, tags, hosts, prefixes, IP sets and autogroups."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from ghostwire.capabilities.policy import Prefix, is_tag
from ghostwire_policy_acl.wording import Unreadable, shown

SELF, INTERNET, DANGER_ALL = "autogroup:self", "autogroup:internet", "autogroup:danger-all"
MEMBER, TAGGED = "autogroup:member", "autogroup:tagged"
AUTOGROUPS = (MEMBER, TAGGED, SELF, INTERNET, DANGER_ALL)
ROLES = tuple(
    f"autogroup:{role}"
    for role in ("admin", "owner", "it-admin", "network-admin", "billing-admin", "auditor", "shared", "nonroot")
)
"""Autogroups of the field that stand for something that GhostWire's users and nodes have not."""
_SYNONYMS = {"autogroup:members": MEMBER}

_NAMED = re.compile(r"[^\s@:*]{1,100}")
_DOMAIN = re.compile(r"[^\s@:*]{0,253}")
_LOCAL = re.compile(r"[^\s@:]{1,100}")


class Kind(Enum):
    """What a name may be."""

    EVERYONE = "everyone"
    USER = "user"
    GROUP = "group"
    TAG = "tag"
    AUTOGROUP = "autogroup"
    HOST = "host"
    IPSET = "IP set"
    PREFIX = "prefix"


class Alias(NamedTuple):
    """A name as rules have it; ``text`` is the same for all that mean the same. ``prefix`` of a literal one."""

    kind: Kind
    text: str
    prefix: Prefix | None = None


def parse_prefix(text: str) -> Prefix | None:
    """An address or a prefix; None where it is neither."""
    if not text or not (text[0].isdigit() or ":" in text):
        return None
    try:
        return ip_network(text if "/" in text else ip_address(text), strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=8192)
def parse_alias(text: str) -> Alias:
    """Any name; Unreadable says what is wrong with it."""
    if text == "*":
        return Alias(Kind.EVERYONE, text)
    if text.startswith("group:"):
        return Alias(Kind.GROUP, _checked(text, "group:"))
    if text.startswith("tag:"):
        return Alias(Kind.TAG, check_tag(text))
    if text.startswith("autogroup:"):
        return Alias(Kind.AUTOGROUP, _SYNONYMS.get(text, text))
    if text.startswith("ipset:"):
        return Alias(Kind.IPSET, _checked(text, "ipset:"))
    if "@" in text:
        return Alias(Kind.USER, check_user(text.removeprefix("user:")))
    prefix = parse_prefix(text)
    if prefix is not None:
        return Alias(Kind.PREFIX, str(prefix), prefix)
    return Alias(Kind.HOST, check_host(text))


def check_tag(text: str) -> str:
    """A tag's name."""
    if not is_tag(text):
        raise Unreadable(f"{shown(text)} is no tag: write tag:NAME, the name beginning with a letter")
    return text


def check_group(text: str) -> str:
    """A group's name."""
    if not text.startswith("group:"):
        raise Unreadable(f"{shown(text)} is no group: write group:NAME")
    return _checked(text, "group:")


def check_host(text: str) -> str:
    """A name for an address or prefix."""
    if not _NAMED.fullmatch(text) or parse_prefix(text) is not None:
        raise Unreadable(
            f"{shown(text)} means nothing here: write `*`, a user (NAME@DOMAIN), group:NAME, tag:NAME, autogroup:NAME, "
            "ipset:NAME, an address or prefix, or a name of `hosts`"
        )
    return text


def check_user(text: str) -> str:
    """A user's name or e-mail address, in which a ``*`` may stand in for any part of what precedes the domain."""
    local, _, domain = text.rpartition("@")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or ("*" in local and not domain):
        raise Unreadable(f"{shown(text)} is no user: write NAME@DOMAIN, NAME@ (a name without domain), or *@DOMAIN")
    return text if "*" not in local else f"{local}@{domain.lower()}"


def _checked(text: str, head: str) -> str:
    if not _NAMED.fullmatch(text[len(head) :]):
        raise Unreadable(f"{shown(text)} has a name that is empty, too long, or has a character that names have not")
    return text


def split_destination(text: str) -> tuple[str, str]:
    """``NAME:PORTS``, where an IPv6 address may stand in brackets; gives name and ports."""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        prefix = parse_prefix(address)
        if not bracket or prefix is None or prefix.version == 4 or "/" in address or rest[:1] not in (":", "/"):
            raise Unreadable(f"{shown(text)}: brackets stand around an IPv6 address, as in `[fd00::1]:22`")
        text = address + rest
    name, colon, ports = text.rpartition(":")
    if not colon or not name or not ports or name in ("group", "tag", "autogroup", "ipset"):
        raise Unreadable(f"{shown(text)} has no ports: write NAME:PORTS, as in `tag:web:80,443` or `*:*`")
    return name, ports
