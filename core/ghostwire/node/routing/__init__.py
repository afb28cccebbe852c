"""Routes beyond the mesh, as one node sees them: which router each prefix goes through, and what it offers itself."""
