"""Texts that requests bring, as the API's document describes them; whoever takes them in checks them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ghostwire.capabilities.policy import MAX_TAGS
from ghostwire.server import names


def described(description: str, **schema: Any) -> msgspec.Meta:
    """A description in JSON Schema that decoding does not heed: what refuses a value says better why."""
    return msgspec.Meta(description=description, extra_json_schema=schema)


UserName = Annotated[str, described("1 to 64 characters in a line, not only digits.", pattern=f"^{names.LINE_NOT_ID}$")]
Email = Annotated[str, described("An e-mail address; empty: none.", pattern=f"^({names.EMAIL})?$")]
Label = Annotated[str, described("A DNS label, not only digits.", pattern=f"^{names.NAME}$")]
RegionName = Annotated[str, described("1 to 64 characters in a line.", pattern=f"^{names.LINE}$")]
Note = Annotated[str, described("A line of text.", pattern=f"^{names.NOTE}$")]
Tag = Annotated[str, described("A tag.", pattern="^tag:[A-Za-z][A-Za-z0-9._-]{0,62}$")]
Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)]
RelayName = Annotated[str, described("A DNS label, not only digits.", pattern=f"^(?!embedded$){names.NAME}$")]
_V4 = r"((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PART = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"({_PART}\.)*(?![0-9]+\.?$){_PART}\.?"
HostName = Annotated[
    str,
    described(
        "A host name or an address.",
        anyOf=[{"pattern": f"^{_HOST}$", "maxLength": 253}, {"pattern": f"^{_V4}$"}, {"format": "ipv6"}],
    ),
]
OwnIPv4 = Annotated[str, described("An address; empty: as DNS says; none: not over IPv4.", pattern=f"^(|none|{_V4})$")]
OwnIPv6 = Annotated[
    str,
    described(
        "An address; empty: as DNS says; none: not over IPv6.", anyOf=[{"enum": ["", "none"]}, {"format": "ipv6"}]
    ),
]
Routed = Annotated[
    str,
    described(
        "A prefix, a route's id, or exit: both of an exit node's.",
        pattern=f"^(exit|[0-9]{{1,18}}|{_V4}(/([12]?[0-9]|3[0-2]))?|[0-9A-Fa-f:]+(/[0-9]{{1,3}})?)$",
    ),
]
