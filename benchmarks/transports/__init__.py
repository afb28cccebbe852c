"""What the transports carry, in process and isolated, each beside something that does the same work without a mesh."""
