"""Disco at a node: its peers' keys, answers to their pings, and what bounds them."""
