"""What every tunnel must tell and do for the choice of a peer's path: activity, rest, tests, and whom it answers."""

from __future__ import annotations

import asyncio

from ghostwire.capabilities.transport import Path
from ghostwire.capabilities.tunnel import Activity
from ghostwire.engine import SECOND
from ghostwire.testing.contracts.base import rule
from ghostwire.testing.contracts.ends import End, answers, reaches
from ghostwire.testing.contracts.tunnel_scene import TunnelScene
from ghostwire.testing.loop import running_clock

NOWHERE = ("203.0.113.66", 9)


def nowhere(end: End) -> Path:
    """A path on which everything is lost."""
    return end.transport.path("{}:{}".format(*NOWHERE))


def send(one: End, other: End, data: bytes) -> None:
    """Data that the other's host takes and does not answer."""
    other.device.udp(9)
    one.device.udp(9).send(other.ipv4, 9, data)


def arrived(end: End) -> list[bytes]:
    """The data that came to the end's host and was not asked for yet."""
    return [received.data for received in end.device.udp(9).waiting()]


class TunnelPathRules(TunnelScene):
    """Rules about paths; part of `TunnelContract`."""

    async def connected(self) -> tuple[End, End]:
        """Two ends with a session."""
        one, two = await self.pair()
        await answers(one, two)
        return one, two

    @rule
    async def test_the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not(self) -> None:
        """In either direction; whoever was never heard of rests."""
        one, two = await self.pair()
        for times in (1, 2, 3):
            await self.network_settles()
            assert (len(one.events.wakings), len(two.events.wakings)) == (times - 1, times - 1), "woken by nothing"
            for _ in range(3):
                await answers(one, two)
            woken = (one.events.wakings, two.events.wakings)
            assert woken == ([2] * times, [1] * times), (
                f"awake() must be called once after each of {times} rests: {woken}"
            )
            one.tunnel.rest(2)
            two.tunnel.rest(1)
            one.tunnel.rest(77)

    @rule
    async def test_keepalives_and_handshakes_are_no_data(self) -> None:
        """They wake nobody, and are heard."""
        one, two = await self.connected()
        before = [one.tunnel.activity(2), two.tunnel.activity(1)]
        one.tunnel.rest(2)
        two.tunnel.rest(1)
        one.tunnel.apply([two.as_peer(keepalive=5)])
        one.tunnel.test(2, one.path_to(two))
        await asyncio.sleep(60)
        after = [one.tunnel.activity(2), two.tunnel.activity(1)]
        assert (one.events.wakings, two.events.wakings) == ([2], [1]), (
            "awake() was called for a keepalive or a handshake"
        )
        moved = [(each.sent, each.received) for each in after] != [(each.sent, each.received) for each in before]
        assert not moved, f"activity() counts keepalives or handshakes as data: {before} became {after}"
        assert after[1].heard - before[1].heard > 50 * SECOND, "a keepalive over the attached path was not heard"

    @rule
    async def test_data_that_wakes_a_peer_goes_over_the_paths_attached_then(self) -> None:
        """Not over those from before the rest."""
        one, two = await self.connected()
        one.tunnel.attach(2, [nowhere(one)])
        one.tunnel.rest(2)
        one.events.on_awake = lambda peer: one.tunnel.attach(peer, [one.path_to(two)])
        send(one, two, b"first")
        await self.network_settles()
        assert arrived(two) == [b"first"], "awake() must be told before the datagrams of the same pass are sent"

    @rule
    async def test_the_activity_tells_when_data_moved_and_since_when_it_is_unanswered(self) -> None:
        """By the node's clock."""
        one, two = await self.pair()
        for peer in (2, 77):
            assert one.tunnel.activity(peer) == Activity(), "activity() of a peer without any must be empty"
        begun = running_clock().now()
        await answers(one, two)
        told = one.tunnel.activity(2)
        rising = begun <= told.sent < told.received == told.heard <= running_clock().now()
        assert rising, f"activity() must tell when data was sent and received, by the node's clock: {told}"
        assert told.unanswered == 0, f"data that was answered counts as unanswered: {told}"
        one.tunnel.attach(2, [nowhere(one)])
        silent = running_clock().now()
        for _ in range(3):
            send(one, two, b"lost")
            await self.network_settles()
        after = one.tunnel.activity(2)
        assert after.unanswered == silent, f"unanswered must be when the first data without an answer was sent: {after}"
        assert after.sent == silent + 2 * SECOND, f"sent must be when data was sent last: {after}"
        assert (after.received, after.heard) == (told.received, told.heard), f"nothing came, but {told} became {after}"

    @rule
    async def test_only_what_comes_over_an_attached_path_is_an_answer(self) -> None:
        """Else a path that carries nothing would pass for one that works; nor does attaching answer anything."""
        one, two = await self.connected()
        one.tunnel.attach(2, [nowhere(one)])
        send(one, two, b"lost")
        await self.network_settles()
        before = one.tunnel.activity(2)
        assert before.unanswered > 0, "data that was lost must count as unanswered"
        send(two, one, b"from elsewhere")
        await self.network_settles()
        elsewhere = one.tunnel.activity(2)
        assert elsewhere.received > before.received, "data over a path that is not attached is data, too"
        same = (elsewhere.unanswered, elsewhere.heard) == (before.unanswered, before.heard)
        assert same, f"data over a path that is not attached counts as an answer: {before} became {elsewhere}"
        for _ in range(2):
            one.tunnel.attach(2, [one.path_to(two)])
        assert one.tunnel.activity(2) == elsewhere, "attaching a path changed activity(): it answers nothing"
        send(two, one, b"an answer")
        await self.network_settles()
        answered = one.tunnel.activity(2)
        assert answered.unanswered == 0, "data over the attached path is an answer"
        assert answered.heard == answered.received > elsewhere.received, f"heard must be when it came: {answered}"

    @rule
    async def test_a_peer_at_rest_waits_for_no_answer(self) -> None:
        """What was lost before the rest says nothing of the paths after it."""
        one, two = await self.connected()
        one.tunnel.attach(2, [nowhere(one)])
        send(one, two, b"lost")
        await self.network_settles()
        assert one.tunnel.activity(2).unanswered > 0, "data that was lost must count as unanswered"
        one.tunnel.rest(2)
        assert one.tunnel.activity(2).unanswered == 0, "a peer at rest waits for no answer"
        woken = running_clock().now()
        send(one, two, b"lost again")
        await self.network_settles()
        assert one.tunnel.activity(2).unanswered == woken, "after a rest, only what is sent then waits for an answer"

    @rule
    async def test_a_path_that_carries_a_handshake_proves_itself_alone(self) -> None:
        """One initiation over this path, its answer back over the same; the session changes without a loss."""
        one, two = await self.connected()
        path = one.transport.path(await self.answers_at(two, 5000))
        targets = self.targets_of(one)
        one.tunnel.test(2, path)
        await self.network_settles()
        assert targets[:1] == [(two.host.addresses[0], 5000)], f"the initiation went to {targets[:1]}"
        assert one.events.handshakes[1:] == [(2, path)], "established() must tell the path that was tested"
        assert one.stats_of(two).heard_over == path, "heard_over must tell the path that was tested"
        await answers(one, two)
        assert [port for _, port in targets].count(5000) == 1, "data goes over the attached path"

    @rule
    async def test_a_test_of_a_dead_path_is_not_repeated_and_harms_no_session(self) -> None:
        """Nor does one of a peer that there is not."""
        one, two = await self.connected()
        targets = self.targets_of(one)
        one.tunnel.test(2, nowhere(one))
        one.tunnel.test(77, nowhere(one))
        for _ in range(30):
            assert await reaches(one, two), "a ping was lost while another path was tested"
            await self.network_settles()
        assert one.events.wants == [2], "a test must not be announced as wanted()"
        assert targets.count(NOWHERE) == 1, f"{targets.count(NOWHERE)} initiations over the tested path"
        assert (one.handshakes(), two.handshakes()) == (1, 1), "a test of a dead path ended a session"

    @rule
    async def test_a_test_does_not_disturb_a_handshake_under_way(self) -> None:
        """Its answer still counts, and what waits for it goes out at once."""
        one, two = await self.pair()
        send(one, two, b"waits")
        await asyncio.sleep(0.015)
        assert one.events.handshakes == [], "a handshake cannot be over yet"
        one.tunnel.test(2, nowhere(one))
        await self.network_settles()
        told = one.events.handshakes
        assert told == [(2, one.path_to(two))], f"the handshake under way was lost: established() told {told}"
        assert arrived(two) == [b"waits"], "what waited for the handshake was lost"

    @rule
    async def test_an_initiation_is_answered_where_it_came_from_and_nowhere_else(self) -> None:
        """Whatever is attached, so that a completed handshake proves a path in both directions."""
        one, two = await self.pair()
        two.tunnel.attach(1, [nowhere(two)])
        targets = self.targets_of(two)
        send(one, two, b"one way")
        await self.network_settles()
        told = one.events.handshakes
        assert told == [(2, one.path_to(two))], f"an initiation was not answered where it came from: {told}"
        assert targets == [(one.host.addresses[0], 41641)], f"the answer went to {targets}"
        assert arrived(two) == [b"one way"], "data after the handshake did not arrive"

    @rule
    async def test_a_source_is_told_once_a_second_and_another_at_once(self) -> None:
        """While datagrams come from it, and it is not attached."""
        one, two = await self.connected()
        two.tunnel.attach(1, [nowhere(two)])
        for _ in range(50):
            send(one, two, b"from where?")
            await asyncio.sleep(0.1)
        told = set(two.events.sources)
        assert told == {(1, two.path_to(one))}, f"authenticated() told {told or 'nothing'}"
        assert 4 <= len(two.events.sources) <= 6, f"told {len(two.events.sources)} times in five seconds"
        one.host.move("198.51.100.7")
        send(one, two, b"from elsewhere")
        await asyncio.sleep(0.1)
        assert two.events.sources[-1] == (1, two.path_to(one)), "a further source must be told at once"
