"""What the control plane bears, and what a change costs it, as the mesh grows."""
