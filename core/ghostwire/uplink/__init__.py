"""The way to the coordination server, for nodes and relays alike: the control session, kept open."""
