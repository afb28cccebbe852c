"""What routers of every kind do to packets, as nftables rules; the names are RFC 4787's (mapping/filtering)."""

from __future__ import annotations

# `wan` and `lan` are interface names inside the router, WAN its outside address, LAN the inside network.
# The input chain drops what arrives on wan unasked, as home routers do; see `open_input` for one that does not.
_BASE = """
table inet fw {
  chain input { type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto { icmp, ipv6-icmp } accept
    %(input)s
  }
  chain forward { type filter hook forward priority 0; policy accept;
    ct state established,related accept
    ct state invalid drop
    %(forward)s
    iifname "wan" ct status dnat accept
    iifname "wan" drop
  }
}
"""
_NAT = """
table ip nat {
  %(maps)s
  chain pre {
    type nat hook prerouting priority dstnat;
    %(pre)s
  }
  chain post {
    type nat hook postrouting priority srcnat;
    %(post)s
  }
  %(extra)s
}
"""
# A mapping is remembered (60 s, refreshed by outbound packets) when a datagram leaves, after SNAT:
# outside port -> inside address and port. `ct original` still names the inside end there.
_LEARN = """chain learn {
    type filter hook postrouting priority 300;
    oifname "wan" meta l4proto udp ct direction original update @cone { %s udp sport timeout 60s : ct original ip saddr . ct original proto-src }
  }"""  # noqa: E501
_BY_PORT = "map cone { typeof udp dport : ip daddr . udp dport; flags dynamic,timeout; size 65535; timeout 60s; }"
_BY_ADDRESS = (
    "map cone { typeof ip saddr . udp dport : ip daddr . udp dport; flags dynamic,timeout; size 65535; timeout 60s; }"
)
_MASQUERADE = 'oifname "wan" masquerade'
# Hairpinned packets must come from the outside address (RFC 4787 REQ-9). `iifname` does not match in postrouting.
_HAIRPIN = _MASQUERADE + '\n    oifname "lan" ip saddr %(LAN)s ct status dnat snat to %(WAN)s'

NATS: dict[str, dict[str, str]] = {
    "port_restricted": {"post": _MASQUERADE},  # EIM/APDF
    "full_cone": {  # EIM/EIF
        "maps": _BY_PORT,
        "pre": "ip daddr %(WAN)s meta l4proto udp dnat ip to udp dport map @cone",
        "post": _HAIRPIN,
        "extra": _LEARN % "",
    },
    "port_restricted_hairpin": {  # EIM/APDF and REQ-9
        "maps": _BY_PORT,
        "pre": 'iifname "lan" ip daddr %(WAN)s meta l4proto udp dnat ip to udp dport map @cone',
        "post": _HAIRPIN,
        "extra": _LEARN % "",
    },
    "address_restricted": {  # EIM/ADF
        "maps": _BY_ADDRESS,
        "pre": 'iifname "wan" meta l4proto udp dnat ip to ip saddr . udp dport map @cone',
        "post": _MASQUERADE,
        "extra": _LEARN % "ip daddr .",
    },
    "symmetric": {"post": _MASQUERADE + " fully-random"},  # APDM/APDF
    "one_to_one": {  # a cloud's instance
        "pre": 'iifname "wan" ip daddr %(WAN)s dnat to %(CLIENT1)s',
        "post": 'oifname "wan" snat to %(WAN)s',
    },
    "open_input": {"post": _MASQUERADE, "input": ""},  # a badly set up router
    "udp_blocked": {
        "post": _MASQUERADE,
        "forward": 'iifname "lan" meta l4proto tcp tcp dport 443 accept\n iifname "lan" drop',
    },
}
_CLOSED_INPUT = 'iifname "wan" drop'


def nat_rules(kind: str, *, wan: str, lan: str, client: str) -> str:
    """The rule set of a router: its outside address, its inside network and its first client's address."""
    names = {"WAN": wan, "LAN": lan, "CLIENT1": client}
    wanted = NATS[kind]
    filled = {part: wanted.get(part, "") % names for part in ("maps", "pre", "post", "extra", "forward")}
    return _BASE % {**filled, "input": wanted.get("input", _CLOSED_INPUT)} + _NAT % filled


def firewall_rules() -> str:
    """A stateful firewall without translation: what an IPv6 router at home does."""
    return _BASE % {"input": _CLOSED_INPUT, "forward": ""}
