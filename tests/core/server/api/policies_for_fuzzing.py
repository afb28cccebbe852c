"""What schemathesis puts where the API's document asks for a policy: texts in the language of the engine selected."""

import schemathesis
from hypothesis import strategies as st

ACCEPTED = [
    "{}",
    '{"acls": []}',
    '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}',
    '// comment\n{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["tcp:22"]}]}',
]

schemathesis.openapi.format("ghostwire-policy", st.sampled_from(ACCEPTED))
