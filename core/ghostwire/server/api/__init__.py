"""The server's HTTP API: health for all, administration for those who are authenticated."""
