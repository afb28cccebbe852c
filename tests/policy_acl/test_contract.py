"""The engine keeps the promises of every policy engine."""

from ghostwire_policy_acl.conformance import AclContract


class TestAclEngine(AclContract):
    """As the kit runs it for the installed plugin."""
