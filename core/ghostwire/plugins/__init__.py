"""Finding, loading and hosting plugins."""
