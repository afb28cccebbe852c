"""Linux: TUN devices, addresses, routes and link changes."""
