"""What a relay's record means: who keeps it, and how nodes see it."""

from __future__ import annotations

from ghostwire.model import MapRelay, Relay

ENROLLED = "enrolled"
"""A relay of ours, which enrolled with a token."""
EMBEDDED = "embedded"
"""The one that runs in the server itself."""
DERP_MAP = "derpmap"
"""One of the DERP map that the server was told to use."""
OWN = "embedded"
"""The name of the server's own relay, which no other may have."""

_SHOWN = MapRelay.__struct_fields__


def usable(relay: Relay) -> bool:
    """Whether nodes may be told of it: one that has yet to enrol is nowhere."""
    return relay.source != ENROLLED or relay.key is not None


def seen(relay: Relay) -> MapRelay:
    """A relay as nodes see it."""
    return MapRelay(**{name: getattr(relay, name) for name in _SHOWN})
