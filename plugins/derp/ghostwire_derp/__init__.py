"""Relaying by DERP, the field's relay protocol: the relay itself, STUN, and the transport of a node."""
