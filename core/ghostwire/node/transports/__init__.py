"""Transports under supervision: what one of them does wrong costs only itself."""
