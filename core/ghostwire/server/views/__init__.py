"""What each node is told of the mesh: the objects of the map, who sees which, and what changed since when."""
