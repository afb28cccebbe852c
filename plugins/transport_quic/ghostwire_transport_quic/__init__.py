"""Sealed datagrams over QUIC: the `quic` transport."""
