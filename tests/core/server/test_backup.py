"""The format of backups: what is written comes back, damage is found, hostile files cost little; what a restore leaves
out, so that nothing is given twice."""

import gzip
import hashlib
import json
import os
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.capabilities.storage import Backup
from ghostwire.config import ServerConfig
from ghostwire.errors import Conflict, StateError
from ghostwire.model import RECORDS, Node, Record, ReleasedAddress, User
from ghostwire.server.backup import files, layout, reading, writing
from ghostwire.server.backup.layout import Archive, Header
from ghostwire.server.backup.renewal import LEAST_ADDRESSES, LEAST_IDS, renewed
from ghostwire.server.nodes.addresses import REST, AddressPlan
from ghostwire.testing import MemoryStorage
from ghostwire.testing.contracts.samples import SAMPLES, node, user

HEADER = Header(format=layout.FORMAT, schema=layout.SCHEMA, version="1", domain="d", revision=7, created=1_800_000_000)
RECORDS_OF_ALL = tuple(SAMPLES[kind](number) for kind in RECORDS for number in (1, 2))
ARCHIVE = Archive(
    HEADER,
    Backup(7, RECORDS_OF_ALL, {"ipv6": "fd12::/48", "ü": "\n"}, dict.fromkeys(RECORDS, 40)),
    {"control.key": "ab" * 32 + "\n", "tls.crt": "line\nline\n"},
)
SHAPE = "fa2ba3e1382da24d"
"""The beginning of the digest of all kinds and fields at `layout.SCHEMA`."""


def written(archive: Archive) -> bytes:
    return b"".join(writing.chunks(archive))


def packed(lines: Iterable[object], *, end: bool = True) -> bytes:
    """A file with these lines and the end that fits them."""
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    if end:
        digest = hashlib.blake2b(text, digest_size=32).hexdigest()
        text += json.dumps(["end", {"lines": text.count(b"\n"), "blake2b": digest}]).encode() + b"\n"
    return gzip.compress(text)


def refused(tmp_path: Path, content: bytes) -> str:
    """The one line in which it is refused."""
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(StateError) as caught:
        reading.read(tmp_path / "b")
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    return line.removeprefix(f"{tmp_path / 'b'}: ")


def test_what_is_written_comes_back(tmp_path):
    (tmp_path / "b").write_bytes(written(ARCHIVE))
    assert reading.read(tmp_path / "b") == ARCHIVE


def test_anybody_reads_it_with_gzip_and_json():
    lines = [json.loads(line) for line in gzip.decompress(written(ARCHIVE)).splitlines()]
    assert lines[0] == ["ghostwire-backup", msgspec.to_builtins(HEADER)]
    tags = {tag for tag, _ in lines}
    assert tags == {"ghostwire-backup", "setting", "last_id", "file", "end", *layout.KINDS}
    assert next(value for tag, value in lines if tag == "node")["name"] == "node1"
    tag, end = lines[-1]
    assert (tag, end["lines"]) == ("end", len(lines) - 1)


def test_b2sum_finds_the_digest_that_the_last_line_names(tmp_path):
    (tmp_path / "b").write_bytes(written(ARCHIVE))
    command = f"zcat < {tmp_path / 'b'} | head -n -1 | b2sum -l 256"
    said = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30).stdout
    assert said.split()[0] == json.loads(gzip.decompress(written(ARCHIVE)).splitlines()[-1])[1]["blake2b"]


def test_every_kind_and_field_is_known_to_the_schema():
    """A kind or a field that is new grows `layout.SCHEMA`: an older program would lose it without a word."""
    shape = repr([(kind.__name__, kind.__struct_fields__) for kind in RECORDS])
    assert (hashlib.sha256(shape.encode()).hexdigest()[:16], layout.SCHEMA) == (SHAPE, 5)


def test_a_large_backup_is_written_in_pieces_and_bounded_memory():
    records = tuple(node(number) for number in range(1, 10_001))
    archive = Archive(HEADER, Backup(7, (user(1), *records), {}, {}), {})
    tracemalloc.start()
    largest = max(len(piece) for piece in writing.chunks(archive))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest < 1 << 20
    assert peak < 4 << 20, f"writing took {peak} bytes"


# -- damage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_byte_that_is_changed_lost_or_added_is_found(tmp_path, data):
    whole = written(ARCHIVE)
    at = data.draw(st.integers(10, len(whole) - 1))  # the head of gzip has bytes that mean nothing
    byte = data.draw(st.integers(1, 255))
    changed = data.draw(
        st.sampled_from(
            [
                whole[:at],
                whole[:at] + whole[at + 1 :],
                whole[:at] + bytes([whole[at] ^ byte]) + whole[at + 1 :],
                whole + bytes([byte]),
                whole + whole,
            ]
        )
    )
    refused(tmp_path, changed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_bit_that_changed_before_it_was_compressed_is_found(tmp_path, place, bit):
    text = bytearray(gzip.decompress(written(ARCHIVE)))
    place %= len(text)
    text[place] ^= 1 << bit
    (tmp_path / "b").write_bytes(gzip.compress(bytes(text)))
    with pytest.raises(StateError):
        reading.read(tmp_path / "b")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from([json.loads(line) for line in gzip.decompress(written(ARCHIVE)).splitlines()[:-1]]),
            st.tuples(
                st.sampled_from(["node", "user", "setting", "last_id", "file", "end", "ghostwire-backup", "x", ""]),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(st.sampled_from(["id", "name", "kind", "value", "format"]), inner, max_size=4)
                    ),
                    max_leaves=6,
                ),
            ),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_any_lines_are_a_backup_or_one_clear_line(tmp_path, lines, begins):
    head = [["ghostwire-backup", msgspec.to_builtins(HEADER)]] if begins else []
    (tmp_path / "b").write_bytes(packed([*head, *lines]))
    try:
        archive = reading.read(tmp_path / "b")
    except StateError:
        refused(tmp_path, (tmp_path / "b").read_bytes())
    else:
        assert begins or lines[0][0] == "ghostwire-backup"
        assert all(isinstance(record, Record) and record.id > 0 for record in archive.backup.records)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused_in_one_clear_line(tmp_path, content, compressed):
    refused(tmp_path, gzip.compress(content) if compressed else content)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "empty"),
        ([["ghostwire-backup", {"format": 2, "schema": 5}]], "made by a newer GhostWire"),
        ([["ghostwire-backup", {"format": 1, "schema": 6, "version": "9.9"}]], "made by a newer GhostWire 9.9"),
        ([["node", {}]], "not a backup of GhostWire"),
        ([HEADER, ["nodes", {"id": 1}]], "line 2: nothing is called 'nodes'"),
        ([HEADER, ["user", {"id": 0, "stable_id": "", "name": ""}]], "line 2: 0 is no id"),
        ([HEADER, ["user", {"id": 1 << 64, "stable_id": "", "name": ""}]], "is no id"),
        ([HEADER, *[["user", {"id": 1, "stable_id": "", "name": ""}]] * 2], "line 3: a second user 1"),
        ([HEADER, ["user", {"id": 1}]], "line 2: Object missing required field"),
        ([HEADER, ["file", {"name": "../evil", "content": ""}]], "no file of a server is called '../evil'"),
        ([HEADER, HEADER], "nothing is called 'ghostwire-backup'"),
        ([HEADER, ["end", {"lines": 1, "blake2b": ""}]], "something follows its end"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said(tmp_path, lines, said):
    head = ["ghostwire-backup", msgspec.to_builtins(HEADER)]
    assert said in refused(tmp_path, packed([head if line is HEADER else line for line in lines], end=bool(lines)))


def test_a_file_that_is_missing_or_a_folder_is_said(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(StateError, match=str(path)):
            reading.read(path)


def test_a_file_that_unpacks_to_very_much_is_given_up_early(tmp_path):
    """16 GB of zeros in 16 MB, with and without lines."""
    for filler in (b"\0", b"[]\n"):
        block = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = block.compress(b'["ghostwire-backup",{"format":1,"schema":5}]\n')
        bomb += b"".join(block.compress(filler * (1 << 20)) for _ in range(256)) + block.flush()
        (tmp_path / "b").write_bytes(bomb)
        tracemalloc.start()
        refused(tmp_path, bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 160 << 20


# -- older ones


def test_a_backup_of_an_older_schema_gets_the_new_fields_defaults(tmp_path):
    head = ["ghostwire-backup", {"format": 1, "schema": 1, "revision": 3}]
    lines = [head, ["user", {"id": 4, "stable_id": "u", "name": "ada"}], ["setting", {"name": "a", "value": "b"}]]
    (tmp_path / "b").write_bytes(packed(lines))
    archive = reading.read(tmp_path / "b")
    assert archive.backup == Backup(3, (User(id=4, stable_id="u", name="ada"),), {"a": "b"}, {User: 4})
    assert archive.backup.records[0].email == ""


# -- what a restore leaves out


async def test_after_a_restore_ids_and_addresses_of_the_time_since_are_not_given_out():
    config, now = ServerConfig(ipv4="100.64.0.0/16"), 1_000_000_000
    source = MemoryStorage()
    addresses = AddressPlan(config.ipv4, "fd12::/48")

    def join(transaction, at: int = now) -> Node:
        id_ = transaction.new_id(Node)
        new = msgspec.structs.replace(node(id_), addresses=addresses.take(transaction, at))
        transaction.put(new)
        return new

    await source.open(lambda commit: None)
    before = [await source.write(join) for _ in range(5)]
    gone = before.pop(1)
    await source.write(lambda t: (t.delete(Node, gone.id), addresses.release(t, gone, now)))
    backup = await source.backup()
    lost = [await source.write(lambda t: join(t, now + REST + 1)) for _ in range(100)]
    assert gone.addresses in {each.addresses for each in lost}, "one of those that are lost has what rested"
    target = MemoryStorage()
    await target.restore(renewed(backup, config, os.urandom, now + REST + 2))
    await target.open(lambda commit: None)
    made = [await target.write(lambda t: join(t, now + REST + 3)) for _ in range(100)]
    known = [*before, *lost, gone]
    assert not {each.addresses for each in made} & {each.addresses for each in known}
    assert not {each.id for each in made} & {each.id for each in known}
    assert min(each.id for each in made) == 5 + LEAST_IDS + 1
    later = await target.write(lambda t: join(t, now + 3 * REST))
    assert later.addresses == gone.addresses, "what was passed over is no loss: it is given out after it has rested"


@pytest.mark.parametrize("network", ["100.64.0.0/29", "100.64.0.0/24", "100.64.0.0/10"])
def test_a_small_network_keeps_half_of_what_is_left(network):
    backup = Backup(1, (user(1),), {"ipv6": "fd12::/48"}, {})
    after = renewed(backup, ServerConfig(ipv4=network), os.urandom, 5)
    resting = [record for record in after.records if isinstance(record, ReleasedAddress)]
    hosts = AddressPlan(network, "fd12::/48").ipv4.num_addresses - 3
    assert len(resting) == min(LEAST_ADDRESSES, hosts // 2)
    assert len({each.id for each in resting}) == len(resting)
    assert all(IPv4Address(each.address) in AddressPlan(network, "fd12::/48").ipv4 for each in resting)


# -- the server's files


def test_files_are_put_in_place_and_others_set_aside_only_when_wished(tmp_path):
    (tmp_path / "control.key").write_text("other")
    (tmp_path / "relay.key").write_text("same")
    wanted = {"control.key": "new", "relay.key": "same", "tls.key": "fresh"}
    with pytest.raises(Conflict, match=r"control\.key"):
        files.place(tmp_path, wanted, "stamp", replace=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control.key", "relay.key"]
    files.place(tmp_path, wanted, "stamp", replace=True).give_up()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control.key", "relay.key"]
    files.place(tmp_path, wanted, "stamp", replace=True).finish()
    assert files.kept(tmp_path) == wanted
    assert (tmp_path / "control.key.stamp").read_text() == "other"
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("control.key", "tls.key")} == {0o600}
    files.place(tmp_path, wanted, "again", replace=False).finish()
    assert files.kept(tmp_path) == wanted


def test_a_restore_that_dies_between_two_files_leaves_no_name_without_one(tmp_path, monkeypatch):
    key = tmp_path / "control.key"
    key.write_text("old")
    placing = files.place(tmp_path, {"control.key": "new"}, "stamp", replace=True)

    def dies(*names):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        placing.finish()
    monkeypatch.undo()
    assert (key.read_text(), (tmp_path / "control.key.stamp").read_text()) == ("old", "old")
    placing.finish()
    assert (key.read_text(), (tmp_path / "control.key.stamp").read_text()) == ("new", "old")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restored_belongs_to_who_runs_the_server(tmp_path):
    (tmp_path / "server" / "sql").mkdir(parents=True)
    outside = tmp_path / "roots"
    outside.write_text("secret")
    (tmp_path / "server" / "sql" / "db").write_text("")
    (tmp_path / "server" / "link").symlink_to(outside)
    os.link(outside, tmp_path / "server" / "second")
    os.chown(tmp_path, 65534, 65534)
    files.hand_over(tmp_path / "server")
    owners = {path.name: path.lstat().st_uid for path in tmp_path.rglob("*")}
    assert owners == {"server": 65534, "sql": 65534, "db": 65534, "link": 0, "second": 0, "roots": 0}


# -- records that do not fit together


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ((node(1),), "node 1 is of user 1, who is missing"),
        ((user(1), msgspec.structs.replace(user(2), name="user1")), "user 2 has the name of 1"),
        ((user(1), msgspec.structs.replace(user(2), name="a\0")), "user 2 has a NUL character in its name"),
    ],
)
def test_records_that_do_not_fit_together_are_damage(tmp_path, records, said):
    content = written(Archive(HEADER, Backup(7, records, {}, {}), {}))
    assert refused(tmp_path, content) == f"damaged: {said}; use another backup"


@pytest.mark.parametrize("name", layout.PRIVATE_KEYS)
def test_a_key_that_is_none_is_damage(tmp_path, name):
    content = written(Archive(HEADER, Backup(7, (), {}, {}), {name: "certainly no key"}))
    assert f"its {name} is no private key; use another backup" in refused(tmp_path, content)


def test_a_revision_that_is_none_is_damage(tmp_path):
    content = written(Archive(msgspec.structs.replace(HEADER, revision=-1), Backup(7, (), {}, {}), {}))
    assert refused(tmp_path, content) == "damaged: -1 is no id; use another backup"


def test_records_may_come_in_any_order(tmp_path):
    (tmp_path / "b").write_bytes(written(Archive(HEADER, Backup(7, (node(1), user(1)), {}, {}), {})))
    assert reading.read(tmp_path / "b").backup.records == (user(1), node(1))
