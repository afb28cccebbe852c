"""Nodes as the server knows them: how they come in and go, their sessions and addresses, where they are now."""
