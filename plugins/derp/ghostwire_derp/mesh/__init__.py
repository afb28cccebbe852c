"""Relays of one region, and worker processes of one relay, as one: each knows who is connected to the others."""
