"""Whatever happens to nodes, users, routes, policies and streams: each viewer's map is what the policy says."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ghostwire.capabilities.policy import PolicyRule

from .conftest import EMAIL, GROUPS, PREFIXES, SELECTORS, TAGS, USERS, Mesh, Toy

some = st.lists(st.sampled_from(SELECTORS), min_size=1, max_size=2).map(tuple)
few = st.one_of(st.just(()), st.just(()), some)
rules = st.builds(
    PolicyRule,
    sources=some,
    destinations=some,
    source_holders=few,
    destination_holders=few,
    own=st.sampled_from((False, False, False, True)),
    ports=st.sampled_from(((), ((22, 22),), ((80, 90),))),
)
groups = st.fixed_dictionaries({name: st.frozensets(st.sampled_from(USERS)) for name in GROUPS})
policies = st.builds(Toy, st.lists(rules, min_size=1, max_size=4), groups)
a_node, a_user = st.integers(0, 7), st.integers(1, len(USERS))
tags = st.sampled_from(((), (), ("tag:a",), ("tag:b",), TAGS))
fields = st.one_of(
    st.builds(lambda value: {"tags": value}, tags),
    st.builds(lambda value: {"user": value}, a_user),
    st.builds(lambda value: {"name": f"m{value}"}, a_node),
    st.builds(lambda value: {"version": str(value)}, a_node),
)


class AnyHistory(Mesh, RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize(policy=policies, protocol=st.sampled_from((1, 2, 2)))
    def start(self, policy, protocol) -> None:
        self.protocol = protocol
        self.begin(policy)
        self.protocol = 2
        self.advertise(2, PREFIXES[0])
        self.advertise(3, PREFIXES[-1])

    join = rule(user=a_user, tags=tags, connect=st.booleans())(Mesh.join)
    leave = rule(number=a_node)(Mesh.leave)
    expire = rule(number=a_node, by=st.sampled_from(("record", "time", "renewal")))(Mesh.expire)
    mail = rule(user=a_user, email=st.sampled_from(("", EMAIL)))(Mesh.mail)
    advertise = rule(number=a_node, prefix=st.sampled_from(PREFIXES), approved=st.booleans())(Mesh.advertise)
    route = rule(number=a_node, act=st.sampled_from(("approve", "withdraw", "delete")))(Mesh.route)
    report = rule(number=a_node, down=st.frozensets(st.sampled_from(PREFIXES), max_size=2))(Mesh.report)
    move = rule(number=a_node, home=st.sampled_from((None, 1, 2)))(Mesh.move)
    many_at_once = rule(numbers=st.lists(a_node, min_size=2, max_size=4, unique=True), tags=tags)(Mesh.many_at_once)
    edit = rule(policy=policies)(Mesh.edit)
    edit_slowly = rule(policy=policies)(Mesh.edit_slowly)
    advance = rule(steps=st.sampled_from((1, 5, 20, 100)))(Mesh.advance)
    edit_one_rule = rule(number=a_node, of=rules)(Mesh.edit_one_rule)
    relay = rule(id_=a_node)(Mesh.relay)

    come = rule(number=a_node)(Mesh.come)
    go = rule(number=a_node, lost=st.booleans())(Mesh.go)
    slow = rule(number=a_node)(Mesh.slow)
    hold = rule(steps=st.integers(1, 3))(Mesh.hold)
    compacted = st.sampled_from((99, 99, 99, 4, 0))
    restart = rule(compacted=compacted, lost=st.booleans(), back=st.booleans())(Mesh.restart)
    hush = rule(number=a_node)(Mesh.hush)
    wake = rule(number=a_node)(Mesh.wake)
    refresh = rule(number=a_node)(Mesh.refresh)
    compact = precondition(lambda self: self.revision > 3)(rule(kept=st.integers(0, 6))(Mesh.compact))

    @rule(number=a_node, changed=fields)
    def change(self, number, changed) -> None:
        self.alter(number, **changed)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
