"""Relays as the server knows them: their records, their sessions, which node is at which, and administration."""
