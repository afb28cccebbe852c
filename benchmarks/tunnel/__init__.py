"""TCP, packets, latency and cost of our userspace tunnel beside wireguard-go's, in the same two namespaces."""
