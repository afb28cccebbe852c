"""The policy over the server's API."""

import pytest

from ghostwire.server.policy.policies import MAX_SOURCE

PATH = "/api/v1/policy"


def quoted(number):
    return {"If-Match": f'"{number}"'}


async def test_a_policy_is_written_against_the_version_that_was_read(desk):
    async with desk() as d, d.api as client:
        empty = await client.get(PATH)
        assert (empty.headers["etag"], empty.json()["version"], empty.json()["source"]) == ('"0"', 0, "")
        assert "no policy is stored" in empty.json()["summary"]
        stored = await client.put(PATH, json={"source": "ada > bob\r\n", "note": "first"}, headers=quoted(0))
        assert (stored.status_code, stored.headers["etag"]) == (200, '"1"')
        read = await client.get(PATH)
        assert read.headers["etag"] == '"1"'
        assert read.json() == stored.json()
        assert read.json() == {
            "version": 1,
            "engine": "words",
            "author": "user 4123456789",
            "created": d.mesh.now(),
            "note": "first",
            "size": 11,
            "source": "ada > bob\r\n",
        }


async def test_a_stale_write_is_a_conflict_unless_it_is_forced(desk):
    async with desk() as d, d.api as client:
        await client.put(PATH, json={"source": "ada > bob"}, headers=quoted(0))
        stale = await client.put(PATH, json={"source": "bob > ada"}, headers=quoted(0))
        assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale")
        assert (await client.put(PATH + "?force", json={"source": "bob > ada"})).json()["version"] == 2
        assert (await client.put(PATH, json={"source": "ada"}, headers={"If-Match": "*"})).status_code == 422


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"abc"'}, {"If-Match": "9" * 30}], ids=str)
async def test_a_write_must_say_what_it_replaces(desk, headers):
    async with desk() as d, d.api as client:
        answer = await client.put(PATH, json={"source": "ada > bob"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "usage")
        assert (await client.post(PATH + "/rollback", json={"version": 1}, headers=headers)).status_code == 400


async def test_a_wrong_policy_is_answered_with_every_finding(desk):
    async with desk() as d, d.api as client:
        answer = await client.put(PATH, json={"source": "one\nada > bob\ntwo"}, headers=quoted(0))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "policy")
        assert answer.json()["error"]["findings"] == [
            {"line": 1, "column": 1, "message": "cannot read 'one'"},
            {"line": 3, "column": 1, "message": "cannot read 'two'"},
        ]


async def test_checking_and_testing_answer_with_findings(desk, town):
    async with desk() as d, d.api as client:
        checked = (await client.post(PATH + "/check", json={"source": "doubtful\nmust ada"})).json()
        assert [each["message"] for each in checked["errors"]] == ["nobody is ada"]
        assert [each["line"] for each in checked["warnings"]] == [1]
        assert (await client.post(PATH + "/test", json={})).status_code == 404
        await d.put(*town)
        await client.put(PATH, json={"source": "must ada"}, headers=quoted(0))
        assert (await client.post(PATH + "/test", json={})).json() == {"failures": [], "version": 1}


async def test_the_history_is_listed_newest_first_and_each_version_is_there_whole(desk):
    async with desk() as d, d.api as client:
        await client.put(PATH, json={"source": "ada > bob"}, headers=quoted(0))
        await client.put(PATH, json={"source": "bob > ada"}, headers=quoted(1))
        rolled = await client.post(PATH + "/rollback", json={"version": 1}, headers=quoted(2))
        assert (rolled.json()["version"], rolled.json()["note"]) == (3, "rollback to 1")
        listed = (await client.get(PATH + "/history")).json()["versions"]
        assert [(each["version"], "source" in each) for each in listed] == [(3, False), (2, False), (1, False)]
        assert (await client.get(PATH + "/history/2")).json()["source"] == "bob > ada"
        assert (await client.get(PATH + "/history/9")).status_code == 404


async def test_questions_are_answered(desk, town):
    async with desk() as d, d.api as client:
        await d.put(*town)
        await client.put(PATH, json={"source": "ada > tag:web tcp 22"}, headers=quoted(0))
        question = {"source": "ada", "destination": "web:22"}
        assert (await client.post(PATH + "/explain", json=question)).json()["allowed"]
        assert (await client.post(PATH + "/explain", json={"source": "nobody", "destination": "x"})).status_code == 404


async def test_a_policy_of_the_largest_size_passes_and_one_byte_more_does_not(desk):
    async with desk() as d, d.api as client:
        largest = "#" + "\n" * (MAX_SOURCE - 1)
        assert (await client.put(PATH, json={"source": largest}, headers=quoted(0))).status_code == 200
        assert (await client.put(PATH, json={"source": largest + "\n"}, headers=quoted(1))).status_code == 413
        assert (await client.put(PATH, content=b"x" * (3 * MAX_SOURCE + 100_000), headers=quoted(1))).status_code == 413
        assert (await client.get(PATH)).json()["source"] == largest


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"source": 7}', b'{"source": "x", "more": 1}', b'{"source": "\\ud800"}']
)
async def test_wrong_bodies_are_refused(desk, body):
    async with desk() as d, d.api as client:
        answer = await client.put(PATH, content=body, headers=quoted(0))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")
