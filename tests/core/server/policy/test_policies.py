"""The policy's versions: what is stored, refused, tested, brought back, and in force."""

import asyncio
import re

import pytest

from ghostwire.capabilities.policy import EVERYONE
from ghostwire.config import ServerConfig
from ghostwire.errors import Conflict, NotFound, PluginError, PolicyError, Refused, StateError
from ghostwire.model import PolicyVersion
from ghostwire.server.policy import labels, policies
from ghostwire.server.policy.open import AllowAll, DenyAll
from ghostwire.wire.api_errors import TooLarge


async def test_a_version_is_kept_with_its_author_time_and_note_and_is_in_force(desk):
    async with desk() as d:
        stored = await d.policies.set("ada > bob tcp 22\n", "root", expected=0, note="let ada in")
        assert (stored.id, stored.author, stored.note, stored.engine) == (1, "root", "let ada in", "words")
        assert stored.created == d.mesh.now()
        assert d.policies.version == stored
        assert [rule.sources for rule in d.policies.current.rules] == [("ada",)]
        assert d.adopted == [d.policies.current]


async def test_a_policy_is_compiled_once_on_its_way_in(desk, words):
    engine = words()
    async with desk(engine) as d:
        await d.policies.set("ada > bob", "root", expected=0)
        assert engine.compiled == 1


async def test_a_write_that_looked_at_an_older_version_is_refused_and_says_whose_came_between(desk):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        with pytest.raises(
            Conflict, match="version 1, by ada, not 0, which you looked at; nothing was stored"
        ) as stale:
            await d.policies.set("bob > ada", "bob", expected=0)
        assert stale.value.code == "stale"
        assert len(d.policies.history()) == 1
        await d.policies.set("bob > ada", "bob", expected=None)
        assert d.policies.version.id == 2


async def test_of_two_writes_at_once_one_is_stored(desk):
    async with desk() as d:
        order = [d.policies.set(f"ada > {name}", name, expected=0) for name in ("bob", "web", "db")]
        outcomes = await asyncio.gather(*order, return_exceptions=True)
        assert sum(isinstance(each, Conflict) for each in outcomes) == 2
        assert len(d.policies.history()) == 1


async def test_a_version_that_another_server_stored_at_that_moment_is_a_conflict_too(desk):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        d.mesh._followers.clear()  # this server has not heard of it yet
        await d.put(PolicyVersion(id=2, source="bob > ada", engine="words"))
        d.database.last_ids[PolicyVersion] = 2
        with pytest.raises(Conflict, match="at this moment"):
            await d.policies.set("db > ada", "bob", expected=1)


async def test_another_servers_version_comes_into_force_here(desk):
    async with desk() as d:
        await d.put(PolicyVersion(id=1, source="ada > bob", engine="words", author="other"))
        assert (d.policies.version.id, len(d.policies.current.rules)) == (1, 1)


UNREADABLE = {"wrong": {"source": "???"}, "fatal": {"source": "explode"}, "another engine's": {"engine": "another"}}


@pytest.mark.parametrize("version", UNREADABLE.values(), ids=UNREADABLE)
async def test_another_servers_version_that_cannot_be_read_here_leaves_the_last_in_force(desk, caplog, version):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        held = d.policies.current
        await d.put(PolicyVersion(**{"id": 2, "source": "bob > ada", "engine": "words", **version}))
        assert d.policies.current is held
        assert "version 2 of the policy is not enforced here" in caplog.text


async def test_a_wrong_policy_is_refused_with_all_that_is_wrong_and_the_last_stays(desk):
    async with desk() as d:
        await d.policies.set("ada > bob", "root", expected=0)
        with pytest.raises(PolicyError) as wrong:
            await d.policies.set("one\nada > bob\ntwo", "root", expected=1)
        assert [finding.line for finding in wrong.value.findings] == [1, 3]
        assert d.policies.version.id == 1


async def test_names_whose_labels_would_collide_are_refused(desk, monkeypatch):
    monkeypatch.setattr(labels, "ID_BYTES", 0)
    async with desk() as d:
        with pytest.raises(PolicyError, match="'bob' and 'ada' have the same label by chance"):
            await d.policies.set("ada > bob", "root", expected=0)
        assert (await d.policies.check("ada > bob")).errors
        assert not d.policies.history()


async def test_a_policy_whose_own_tests_fail_is_not_stored(desk, town):
    async with desk() as d:
        await d.put(*town)
        with pytest.raises(PolicyError, match="2:1: nobody is tag:cache"):
            await d.policies.set("must tag:web\nmust tag:cache", "root", expected=0)
        await d.policies.set("must tag:web\nmust ada", "root", expected=0)


async def test_the_tests_of_the_policy_in_force_are_run_against_the_mesh_as_it_is_now(desk, town):
    async with desk() as d:
        assert await d.policies.test() == ()
        await d.put(*town)
        await d.policies.set("must ada", "root", expected=0)
        assert await d.policies.test() == []
        await d.mesh.write(lambda transaction: transaction.delete(type(town[0]), 1))
        assert [str(finding) for finding in await d.policies.test()] == ["1:1: nobody is ada"]


async def test_checking_stores_nothing_and_tells_errors_failing_tests_and_warnings(desk):
    async with desk() as d:
        assert await d.policies.check("ada > bob") == policies.Checked()
        assert [f.line for f in (await d.policies.check("one\ntwo")).errors] == [1, 2]
        checked = await d.policies.check("doubtful\nmust ada")
        assert [f.line for f in checked.errors] == [2]
        assert [f.line for f in checked.warnings] == [1]
        assert d.policies.history() == []


async def test_rolling_back_makes_a_new_version_of_the_old_text(desk):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        await d.policies.set("bob > ada", "bob", expected=1)
        back = await d.policies.rollback(1, "root", expected=2)
        assert (back.id, back.source, back.author, back.note) == (3, "ada > bob", "root", "rollback to 1")
        assert d.policies.version == back
        with pytest.raises(NotFound, match="no version 9"):
            await d.policies.rollback(9, "root", expected=3)


async def test_the_same_text_again_makes_no_version(desk):
    async with desk() as d:
        first = await d.policies.set("ada > bob", "ada", expected=0)
        assert await d.policies.set("ada > bob", "bob", expected=1) == first
        assert len(d.policies.history()) == 1


async def test_a_policy_is_in_force_after_a_restart(desk, words):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        await d.restart(words())
        assert (d.policies.version.id, len(d.policies.current.rules)) == (1, 1)


async def test_a_stored_policy_without_its_engine_refuses_the_start_in_one_line(desk, words):
    async with desk() as d:
        await d.policies.set("ada > bob", "ada", expected=0)
        with pytest.raises(
            PluginError, match=r"version 1 .*'words', which is not selected, as no policy engine is: sel"
        ):
            await d.restart(None)
        other = words()
        other.name = "other"
        with pytest.raises(PluginError, match="which is not selected, but 'other' is"):
            await d.start(other)
        await d.start(words())


async def test_a_stored_policy_that_its_engine_no_longer_reads_refuses_the_start(desk, words):
    async with desk() as d:
        await d.put(PolicyVersion(id=1, source="ada > bob\n???", engine="words"))
        with pytest.raises(StateError, match=r"version 1, is wrong for words as it is now: policy: 2:1: cannot read"):
            await d.restart(words())


@pytest.mark.parametrize(
    ("engine", "config", "kind", "said"),
    [
        (False, {}, AllowAll, "no policy engine is selected: every node may reach every other"),
        (True, {"without_policy": "allow"}, AllowAll, "no policy is stored: every node may reach every other"),
        (True, {"without_policy": "deny"}, DenyAll, "no policy is stored: no node may reach another"),
        (False, {"without_policy": "deny"}, AllowAll, "no policy engine is selected"),
    ],
    ids=["no engine", "allow", "deny", "deny without an engine"],
)
async def test_what_holds_without_a_policy_is_said_loudly(desk, words, caplog, engine, config, kind, said):
    async with desk() as d:
        caplog.clear()
        await d.restart(words() if engine else None, ServerConfig(**config))
        assert isinstance(d.policies.current, kind)
        assert said in caplog.text
        assert said in d.policies.describe()["summary"]
        assert (EVERYONE in d.policies.current.rules[0].sources) if kind is AllowAll else not d.policies.current.rules


async def test_who_changed_the_policy_is_logged(desk, caplog):
    caplog.set_level("INFO")
    async with desk() as d:
        await d.policies.set("ada > bob\nbob > ada", "ada", expected=0, note="both ways")
        assert "policy: version 1 by ada (both ways) is in force: 2 rules" in caplog.text
        assert d.policies.describe() == {"engine": "words", "version": 1, "summary": "version 1 by ada"}


async def test_an_engine_that_breaks_on_the_stored_policy_refuses_the_start(desk, words):
    async with desk() as d:
        await d.put(PolicyVersion(id=1, source="explode", engine="words"))
        with pytest.raises(PluginError, match="the policy engine words failed: boom"):
            await d.restart(words())


async def test_an_engine_that_breaks_is_named_and_changes_nothing(desk):
    async with desk() as d:
        with pytest.raises(PluginError, match="the policy engine words failed: boom"):
            await d.policies.set("explode", "root", expected=0)
        assert d.policies.history() == []


async def test_a_text_is_bounded_and_so_is_a_note(desk):
    async with desk() as d:
        with pytest.raises(TooLarge, match="at most 4194304 bytes"):
            await d.policies.set("é" * (policies.MAX_SOURCE // 2 + 1), "root", expected=0)
        for note in ("x" * 201, "two\nlines"):
            with pytest.raises(Refused, match="a note is a line"):
                await d.policies.set("ada > bob", "root", expected=0, note=note)


async def test_of_many_versions_the_last_are_kept(desk, monkeypatch):
    monkeypatch.setattr(policies, "KEPT", 3)
    async with desk() as d:
        for number in range(6):
            await d.policies.set(f"ada > bob tcp {number}", "root", expected=number)
        assert [version.id for version in d.policies.history()] == [4, 5, 6]
        with pytest.raises(NotFound, match=re.escape("(any more)")):
            d.policies.get(3)


async def test_of_large_versions_fewer_are_kept(desk, monkeypatch):
    monkeypatch.setattr(policies, "KEPT_BYTES", 250)
    async with desk() as d:
        for number in range(4):
            await d.policies.set(f"ada > bob\n# {number}".ljust(100), "root", expected=number)
        assert [version.id for version in d.policies.history()] == [3, 4]


async def test_tags_that_no_rule_names_are_told_once_there_is_a_policy(desk):
    async with desk() as d:
        assert d.policies.unnamed(["tag:web"]) == []
        await d.policies.set("ada > tag:web\ntag:db > own", "root", expected=0)
        assert d.policies.unnamed(["tag:web", "tag:wbe", "tag:db"]) == ["tag:wbe"]
