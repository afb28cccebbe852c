"""What tests of GhostWire and of its plugins are made of: clocks, networks, platforms, contracts."""
