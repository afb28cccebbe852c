"""One port for everything: TLS, HTTP, and raw streams after an Upgrade."""
