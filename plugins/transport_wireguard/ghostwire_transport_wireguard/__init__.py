"""WireGuard as a tunnel, and UDP as its transport."""
