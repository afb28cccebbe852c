"""JSON with comments: what is read, where it stands, and what is refused."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.errors import PolicyError
from ghostwire_policy_acl.hujson import MAX_DEPTH, MAX_SIZE, Document, Value, parse

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=20)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)
spaces = st.sampled_from(["", " ", "\n", "\t\r\n ", "// note\n", "/* a * b / c */", "/**/", '/* "} */ // ]\n'])


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value with comments and trailing commas wherever they may stand."""

    def write(value: Any) -> str:
        before, after = draw(spaces), draw(spaces)
        comma = "," if draw(st.booleans()) else ""
        if isinstance(value, list):
            inner = ",".join(write(each) for each in value)
            text = f"[{inner}{comma if value else ''}{draw(spaces)}]"
        elif isinstance(value, dict):
            inner = ",".join(f"{write(key)}:{write(each)}" for key, each in value.items())
            text = f"{{{inner}{comma if value else ''}{draw(spaces)}}}"
        else:
            text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        return before + text + after

    return write(value)


documents = values.flatmap(lambda value: st.tuples(st.just(value), written(value)))


def spans(value: Value) -> Iterator[Value]:
    """A value and all within it."""
    yield value
    if isinstance(value.data, list):
        for each in value.data:
            yield from spans(each)
    elif isinstance(value.data, dict):
        for member in value.data.values():
            yield from spans(member.value)


@patient
@given(values, st.integers(0, 4) | st.none())
def test_plain_json_is_read_as_json_reads_it(value: Any, indent: int | None) -> None:
    assert parse(json.dumps(value, indent=indent)).root.plain() == value


@patient
@given(documents)
def test_comments_and_trailing_commas_change_nothing(document: tuple[Any, str]) -> None:
    value, text = document
    assert parse(text).root.plain() == value


@patient
@given(documents)
def test_every_value_stands_where_its_span_says(document: tuple[Any, str]) -> None:
    _, text = document
    read = parse(text)
    for value in spans(read.root):
        assert parse(text[value.start : value.end]).root.plain() == value.plain()
        line, column = read.place(value.start)
        assert sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1 == value.start


@patient
@given(st.text(max_size=60) | st.text(alphabet='{}[]:,"\\/*-+.eE019truefalsn \n', max_size=60))
def test_any_text_is_read_or_refused_with_one_finding_within_it(text: str) -> None:
    try:
        parse(text)
    except PolicyError as error:
        (finding,) = error.findings
        lines = text.split("\n")
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert finding.message.isprintable()


@patient
@given(documents, st.integers(0, 10_000), st.sampled_from(["", ",", "]", "{", '"', "1", "/", " ", "x"]))
def test_what_another_reader_of_the_format_refuses_is_refused(document: tuple[Any, str], at: int, put: str) -> None:
    grammar = pytest.importorskip("tree_sitter_hujson")
    tree_sitter = pytest.importorskip("tree_sitter")
    _, text = document
    at %= len(text) + 1
    changed = text[:at] + put + text[at + 1 :]
    other = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(changed.encode())
    try:
        parse(changed)
    except PolicyError:
        return
    assert not other.root_node.has_error, changed


@patient
@given(documents)
def test_another_reader_of_the_format_accepts_what_is_accepted(document: tuple[Any, str]) -> None:
    grammar = pytest.importorskip("tree_sitter_hujson")
    tree_sitter = pytest.importorskip("tree_sitter")
    read = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(document[1].encode())
    assert not read.root_node.has_error, document[1]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "1:1", "the text ends where a value is missing"),
        ('{"a": 1\n "b": 2}', "2:2", "a comma or '}' is missing"),
        ('{"a" 1}', "1:2", "a colon is missing after this key"),
        ("{a: 1}", "1:2", "a is not expected here"),
        ("{'a': 1}", "1:2", 'texts stand in "double quotes"'),
        ('{"a": 1}\n}', "2:1", "more text after the policy's end"),
        ("[1, 2", "1:1", "this array is never closed"),
        ('{\n"a": "x', "2:6", "this text is never closed"),
        ('["\t"]', "1:2", "a character or escape that JSON does not allow"),
        ("{ /* a", "1:3", "this comment is never closed"),
        ("[01]", "1:2", "0 is not expected"),
        ("[1,,2]", "1:4", "a value is missing before ,"),
        ('["\\ud83d"]', "1:2", "half of a character"),
        ("[1e999]", "1:2", "too large"),
        ("[" + "1" * 500 + "]", "1:2", "too long"),
        ("\0", "1:1", "U+0000"),
    ],
    ids=lambda text: re.sub(r"\W+", "-", text[:30]) or "empty",
)
def test_errors_say_where_and_what(text: str, where: str, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    (finding,) = caught.value.findings
    assert f"{finding.line}:{finding.column}" == where
    assert what in finding.message


def test_a_key_that_is_there_twice_is_told_with_its_place() -> None:
    read = parse('{"a": 1,\n "a": 2}')
    assert [(key, read.place(offset)) for key, offset in read.duplicates] == [("a", (2, 2))]


def test_keys_have_places_too() -> None:
    read = parse('{\n  "key": 1}')
    assert isinstance(read.root.data, dict)
    assert read.place(read.root.data["key"].start) == (2, 3)


def test_depth_is_bounded() -> None:
    assert isinstance(parse("[" * MAX_DEPTH + "]" * MAX_DEPTH), Document)
    with pytest.raises(PolicyError, match=f"deeper than {MAX_DEPTH}"):
        parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_a_text_of_four_megabytes_is_read_in_seconds_and_a_longer_one_refused() -> None:
    line = '{"action": "accept", "src": ["group:dev"], "dst": ["tag:web:443"]}, // work\n'
    text = "[" + line * ((MAX_SIZE - 2) // len(line)) + "]"
    began = time.process_time()
    parse(text)
    assert time.process_time() - began < 10
    with pytest.raises(PolicyError, match="at most"):
        parse(text + " " * MAX_SIZE)


@pytest.mark.parametrize(
    "text", ["/*" * 500_000, '"' + "\\" * 1_000_001, "[" + "// x\n" * 200_000, " " * 1_000_000 + "x"]
)
def test_no_text_takes_long_to_refuse(text: str) -> None:
    began = time.process_time()
    with pytest.raises(PolicyError):
        parse(text)
    assert time.process_time() - began < 5
