"""What a server bears of machines that join."""
