"""What programs take from the operating system besides the network device: sockets, locks and an event loop."""
