"""The server's records in SQLite or PostgreSQL."""
