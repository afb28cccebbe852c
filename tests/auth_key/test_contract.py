"""Pre-auth keys keep the promises of every authenticator."""

from ghostwire_auth_key.conformance import KeyContract


class TestKeyAuthenticator(KeyContract):
    """As the kit runs it for the installed plugin."""
