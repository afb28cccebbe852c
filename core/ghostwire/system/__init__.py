"""What programs take from the operating system besides the network device: sockets, locks, users and an event loop."""
