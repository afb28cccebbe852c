"""What the network between this node and its relays is like, and which region is its home."""
