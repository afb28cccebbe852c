"""Routes beyond the mesh: what nodes advertise, what is refused, and who approves the rest."""
