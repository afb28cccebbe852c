"""How the conformance kit tries the engine: with policies as operators write them."""

from __future__ import annotations

from ghostwire import PolicyEngine
from ghostwire.testing.contracts import PolicyContract
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings


class AclContract(PolicyContract):
    """Groups, tags, hosts, routers and tests."""

    good = (
        '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}',
        """{
            "groups": {"group:dev": ["user1@", "*@example.com"]},
            "tagOwners": {"tag:web": ["group:dev"], "tag:router": []},
            "hosts": {"lan": "10.1.0.0/16"},
            "acls": [
                {"action": "accept", "src": ["group:dev"], "dst": ["tag:web:80,443", "lan:22"]}, // work
                {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
            ],
            "grants": [{"src": ["*"], "dst": ["lan"], "ip": ["tcp:8000-8100"], "via": ["tag:router"]}],
            "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:router"]}, "exitNode": ["group:dev"]},
            "nodeAttrs": [{"target": ["tag:web"], "attr": ["fast"]}],
            "tests": [{"src": "user1@", "accept": ["user1@:22"]}],
        }""",
        "{}",
    )
    wrong = '{"acls": [{"action": "accept",\n"src": ["group:nobody"], "dst": ["*:*"]}]}'

    async def make(self) -> PolicyEngine:
        """The engine."""
        return AclEngine(Settings())
