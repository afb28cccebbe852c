"""Why one may reach another or not: the rule and its place, or what comes nearest."""

import msgspec
import pytest

from ghostwire.capabilities.policy import PolicyRule
from ghostwire.config import ServerConfig
from ghostwire.errors import NotFound, Refused
from ghostwire.server.policy.explain import Question, explain, split_port
from ghostwire.server.policy.wording import excerpt, together

POLICY = """# the town's policy
ada > tag:web tcp 22,8000-8999
tag:web > tag:db tcp 5432
ada,bob > own
ada > 10.1.0.0/16 tcp 443
group:example.org > tag:db any 53
"""


@pytest.fixture
def ask(desk, town):
    """``await ask("ada", "web:22")``: the answer in the town, under `POLICY` unless another is given."""

    async def asked(source, destination, protocol="", policy=POLICY):
        async with desk() as d:
            await d.put(*town)
            if policy:
                await d.policies.set(policy, "root", expected=0)
            return await explain(d.mesh, d.policies, Question(source, destination, protocol))

    return asked


async def test_the_rule_that_decides_is_named_with_its_line_and_text(ask):
    answer = await ask("laptop", "web:22")
    assert answer["allowed"]
    assert answer["summary"] == "allowed: laptop may reach web on tcp port 22, by the rule at line 2"
    (rule,) = answer["rules"]
    assert (rule["line"], rule["column"], rule["text"]) == (2, 1, "ada > tag:web tcp 22,8000-8999")
    assert answer["near_misses"] == []


@pytest.mark.parametrize(
    ("question", "line", "why"),
    [
        (("laptop", "web:23"), 2, "port 22, 8000-8999 is allowed, not 23"),
        (("laptop", "web:22", "udp"), 2, "tcp is allowed, not udp"),
        (("desk", "web:22"), 2, "allows ada only; desk is bob, group:example.org"),
        (("web", "laptop:5432"), 3, "leads to tag:db only; laptop is ada"),
        (("laptop", "desk:22"), 4, "leads to one user's own untagged nodes only; desk is none of laptop's"),
    ],
    ids=["port", "protocol", "source", "destination", "own"],
)
async def test_where_none_decides_the_nearest_are_named_with_what_they_lack(ask, question, line, why):
    answer = await ask(*question)
    assert not answer["allowed"]
    assert answer["summary"].startswith(f"denied: no rule lets {question[0]} reach ")
    assert (line, why) in [(miss["line"], miss["why"]) for miss in answer["near_misses"]]
    assert answer["rules"] == []


async def test_rules_for_another_port_are_nearer_than_those_for_others(ask):
    answer = await ask("laptop", "web:23", policy="bob > tag:web tcp 23\nada > bob tcp 23\nada > tag:web tcp 22")
    assert [miss["line"] for miss in answer["near_misses"]] == [3, 2, 1]


async def test_what_rules_let_in_is_said_where_it_was_not_asked_for(ask):
    answer = await ask("laptop", "web", policy="ada > tag:web tcp 22,8000-8999")
    assert answer["summary"] == "allowed: laptop may reach web on tcp port 22, 8000-8999, by the rule at line 1"
    both = await ask("laptop", "web", policy="ada > tag:web tcp 22\nada > tag:web udp 53")
    assert both["summary"].startswith("allowed: laptop may reach web on tcp port 22; udp port 53, by ")
    assert (await ask("laptop", "web", policy="ada > tag:web"))["summary"] == (
        "allowed: laptop may reach web, by the rule at line 1"
    )


async def test_a_machine_reaches_itself_whatever_rules_there_are(ask):
    answer = await ask("laptop", "laptop:22")
    assert answer["allowed"]
    assert answer["summary"] == "allowed: laptop and laptop are one machine, within which no policy holds"


def test_rules_from_one_place_of_the_text_are_shown_as_one():
    web = PolicyRule(sources=("*",), destinations=("tag:web",), protocols=(6,), ports=((80, 80),), line=3, column=5)
    tls = msgspec.structs.replace(web, destinations=("tag:db",), ports=((443, 443),))
    other = msgspec.structs.replace(web, line=4)
    one = msgspec.structs.replace(web, destinations=("tag:web", "tag:db"), ports=((80, 80), (443, 443)))
    assert together([web, other, tls]) == [one, other]
    anything = msgspec.structs.replace(web, protocols=(), ports=())
    assert (together([web, anything])[0].protocols, together([web, anything])[0].ports) == ((), ())
    nowhere = msgspec.structs.replace(web, line=0)
    assert together([nowhere, msgspec.structs.replace(tls, line=0)])[0] == nowhere


async def test_where_no_rule_comes_near_that_is_said(ask):
    answer = await ask("db", "laptop:22", policy="ada > tag:web tcp 22")
    assert answer["near_misses"] == []
    assert answer["reasons"] == [
        "no rule has db as a source; it is tag:db",
        "no rule leads to laptop; it is ada",
    ]


async def test_a_rule_for_the_other_direction_is_pointed_out(ask):
    answer = await ask("web", "laptop")
    assert "laptop may reach web (line 2): answers pass, new connections do not" in answer["reasons"]


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("ada", "tag:web:22"),
        ("ada@example.com", "100.64.0.4:22"),
        ("ADA@example.com", "[fd00::4]:22"),
        ("100.64.0.2", "web:8080"),
        ("user:ada", "node:web:22"),
        ("bob", "desk:22"),
        ("group:example.org", "tag:db:53"),
        ("laptop", "10.1.2.3:443"),
        ("laptop", "web"),
        ("10.1.0.0/16", "10.1.0.0/16"),
    ],
    ids=lambda text: text.replace(":", "_"),
)
async def test_nodes_addresses_users_and_selectors_are_understood(ask, source, destination):
    policy = POLICY + "10.1.0.0/16 > 10.1.0.0/16" if "/" in source else POLICY
    answer = await ask(source, destination, policy=policy)
    assert answer["allowed"] or source == "10.1.0.0/16", answer


async def test_a_host_is_named_with_the_router_that_has_the_longest_prefix(ask):
    assert (await ask("laptop", "10.1.2.3:443"))["destination"]["nodes"] == ["10.1.2.3 behind gate"]
    assert (await ask("laptop", "8.8.8.8:443"))["destination"]["nodes"] == ["8.8.8.8 behind db"]


async def test_an_address_that_nobody_leads_to_is_denied_with_the_route_that_waits_for_approval(desk, town):
    async with desk() as d:
        await d.put(*town[:-1])
        await d.policies.set("ada > *", "root", expected=0)
        answer = await explain(d.mesh, d.policies, Question("ada", "10.2.0.1"))
        assert not answer["allowed"]
        assert answer["reasons"] == [
            "no node has the address 10.2.0.1, and no approved route leads there",
            "gate advertises 10.2.0.0/16, which nobody approved",
        ]


async def test_some_of_many_pairs_are_said_to_be_some(ask):
    answer = await ask("bob", "laptop", policy="bob > 10.1.0.0/16\nbob > own\ngroup:example.org > tag:db")
    assert not answer["allowed"]
    partly = await ask("ada", "*", policy="* > tag:web\nada > own")
    assert not partly["allowed"]
    assert partly["partly"]
    assert partly["summary"] == "partly: 1 of 4 pairs of ada and * are allowed"
    assert {"source": "laptop", "destination": "db"} in partly["refused"]


async def test_selectors_that_nobody_carries_yet_are_judged_by_what_they_would_be(ask):
    answer = await ask("tag:cache", "tag:queue:22", policy="tag:cache > tag:queue tcp 22")
    assert answer["allowed"]
    assert answer["reasons"] == ["no node is tagged tag:cache", "no node is tagged tag:queue"]


async def test_a_node_that_is_called_as_a_user_is_taken_for_the_node_and_that_is_said(desk, town):
    async with desk() as d:
        await d.put(*town, msgspec.structs.replace(town[2], name="ada"))
        await d.policies.set(POLICY, "root", expected=0)
        answer = await explain(d.mesh, d.policies, Question("ada", "web:22"))
        assert answer["source"]["nodes"] == ["ada"]
        assert answer["reasons"] == ["ada is a user, too: user:ada means that one's nodes"]


async def test_a_name_that_means_nobody_is_refused_with_what_was_meant(ask):
    with pytest.raises(
        NotFound, match="'lptop' is no node, address, user or selector of the policy; did you mean 'lap"
    ):
        await ask("lptop", "web")


async def test_where_no_policy_denies_all_that_is_the_reason(desk, town):
    async with desk(config=ServerConfig(without_policy="deny")) as d:
        await d.put(*town)
        answer = await explain(d.mesh, d.policies, Question("laptop", "db:22"))
        assert not answer["allowed"]
        assert answer["reasons"][0].startswith("no policy is stored: no node may reach another")


async def test_of_a_crowd_the_first_are_looked_at(desk, town, crowd):
    async with desk() as d:
        await d.put(*town, *crowd)
        await d.policies.set("* > *", "root", expected=0)
        answer = await explain(d.mesh, d.policies, Question("*", "web:22"))
        assert answer["allowed"]
        assert "* are 45 nodes, of which 16 were looked at" in answer["reasons"]


async def test_without_a_policy_what_holds_is_said(ask):
    answer = await ask("laptop", "db:22", policy="")
    assert answer["allowed"]
    assert answer["summary"].startswith("allowed: no policy is stored: every node may reach every other")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web", ("web", None)),
        ("web:22", ("web", 22)),
        ("tag:web", ("tag:web", None)),
        ("tag:web:22", ("tag:web", 22)),
        ("tag:7", ("tag:7", None)),
        ("fd00::22", ("fd00::22", None)),
        ("::1", ("::1", None)),
        ("[fd00::1]:22", ("[fd00::1]", 22)),
        ("[fd00::1]", ("[fd00::1]", None)),
        ("10.0.0.0/8:443", ("10.0.0.0/8", 443)),
        ("fd00::/8", ("fd00::/8", None)),
        ("ada@example.com:22", ("ada@example.com", 22)),
        ("*:22", ("*", 22)),
        ("web:ssh", ("web:ssh", None)),
        ("", ("", None)),
    ],
    ids=repr,
)
def test_a_port_is_told_from_a_name(text, parts):
    assert split_port(text) == parts


@pytest.mark.parametrize(
    "question",
    [
        ("laptop", "web:0"),
        ("laptop", "web:70000"),
        ("laptop", "web", "carp"),
        ("laptop", "web", "256"),
        ("laptop", "web:22", "icmp"),
    ],
    ids=str,
)
async def test_what_is_no_port_or_protocol_is_refused(ask, question):
    with pytest.raises(Refused):
        await ask(*question)


@pytest.mark.parametrize(
    ("source", "line", "column", "shown"),
    [
        ("a > b\n  c > d  # here ", 2, 3, "c > d  # here"),
        ('[\n  {"src": ["a"],\n   "dst": {"b": 1}}, {"next": 1}]', 2, 3, '{"src": ["a"],\n "dst": {"b": 1}}'),
        ("x" * 700, 1, 1, "x" * 597 + "..."),
        ("one", 0, 0, ""),
        ("one", 7, 1, ""),
        ("{ never closed", 1, 1, "{ never closed"),
    ],
    ids=["a line", "an object", "a long line", "nowhere", "beyond", "unbalanced"],
)
def test_what_stands_at_a_place_is_shown(source, line, column, shown):
    assert excerpt(source, line, column) == shown
