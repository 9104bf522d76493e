"""YAML 1.2 core: what scalars mean, where everything stands, what is refused, and by which limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbuild.errors import Source, Span, SpecError
from kbuild.spec.reader import (
    LIMITS,
    Items,
    Mapping,
    Node,
    Scalar,
    core_value,
    kind_of,
    plain,
    read_text,
)


def refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        read_text(text, "t.yaml")
    return caught.value


def below(node: Node, *path: str | int) -> Node:
    """The node at a path of keys and indices."""
    for step in path:
        found = node.items[step] if isinstance(node, Items) else node.get(step)
        assert found is not None
        node = found
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # strings that YAML 1.1 took for something else
        *((word, word) for word in ("no", "yes", "on", "off", "No", "YES", "y", "n", "nUll", "tRue")),
        *((text, text) for text in ("1_000", "0b101", "12:30:45", "2026-11-20", "1e", "e3", "1.2.3", "0x", "0o8", ".")),
        *((text, text) for text in ("+", "1,5", "--1", "+-1", "0xfg", "Nan", "inf", "1 2", "<<", "=1", "=")),
        # null and booleans
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, False) for text in ("false", "False", "FALSE")),
        # integers
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0xff", 255),
        ("9223372036854775808", 2**63),
        # floats
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("1.5e2", 150.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("+.Inf", math.inf),
        ("1e999", math.inf),
    ],
)
def test_core_types(text: str, value: object) -> None:
    found = core_value(text)
    assert found == value
    assert type(found) is type(value)
    assert plain(read_text(f"a: {text}", "t.yaml")) == {"a": value}


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text: str) -> None:
    assert math.isnan(core_value(text))


@pytest.mark.parametrize("text", ["'1'", '"true"', "'~'", "!!str 1", "! 1", "'=1'"])
def test_quoted_and_tagged_scalars_are_strings(text: str) -> None:
    node = read_text(text, "t.yaml")
    assert isinstance(node, Scalar)
    assert isinstance(node.value, str)
    assert node.quoted


@pytest.mark.parametrize(
    ("text", "value"),
    [("!!int 7", 7), ("!!float 7", 7.0), ("!!bool true", True), ("!!null ~", None), ("!!float 1e2", 100.0)],
)
def test_core_tags(text: str, value: object) -> None:
    found = plain(read_text(text, "t.yaml"))
    assert found == value
    assert type(found) is type(value)


def walk(node: Node) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    if isinstance(node, Items):
        return [scalar for item in node.items for scalar in walk(item)]
    return [scalar for key, value in node for scalar in (key, *walk(value))]


TREE = """\
# comment
a: [1, {b: two}, three]
'key': "é: 畳"
nested:
  - deep: {x: 1, y: [2, 3]}
    flag: true
  -   # nothing
  - >-
    folded
    text
"""


def test_every_key_and_value_has_its_place() -> None:
    lines = TREE.splitlines()
    for scalar in walk(read_text(TREE, "t.yaml")):
        span = scalar.span
        shown = lines[span.line - 1][span.column - 1 :][: span.length]
        if scalar.value is None or "folded" in str(scalar.value):
            continue
        assert core_value(shown.strip("'\"")) == scalar.value, (span, shown)


def test_collections_begin_where_they_are_written() -> None:
    tree = read_text(TREE, "t.yaml")
    places = {
        ("a",): (2, 4),
        ("a", 1): (2, 8),
        ("nested",): (5, 3),
        ("nested", 0): (5, 5),
        ("nested", 0, "deep"): (5, 11),
    }
    for path, place in places.items():
        span = below(tree, *path).span
        assert (span.line, span.column) == place


def test_keys_are_strings_as_written() -> None:
    tree = read_text("1: a\ntrue: b\n~: c\n1.50: d\n0x10: e", "t.yaml")
    assert list(plain(tree)) == ["1", "true", "~", "1.50", "0x10"]


def test_lookups() -> None:
    tree = read_text("a: 1\nb: 2", "t.yaml")
    assert isinstance(tree, Mapping)
    assert len(tree) == 2
    assert tree.get("c") is None
    assert tree.key("c") is None
    assert [key.value for key, _ in tree] == ["a", "b"]


def test_aliases_share_their_nodes() -> None:
    tree = read_text("a: &x [1, 2]\nb: *x\nc: {d: *x}", "t.yaml")
    assert plain(tree) == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    assert isinstance(tree, Mapping)
    assert tree.get("a") is tree.get("b")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("[" * 70 + "]" * 70, "depth"),
        ("{a: " * 70 + "}" * 70, "depth"),
        ("- " * 70 + "x", "depth"),
        ("a: &a [" + "1, " * 400 + "]\nb: [" + "*a, " * 400 + "]", "alias-expansion"),
        ("a: " + "9" * 1001, "digits"),
        ("a: -" + "9" * 5000, "digits"),
        ("a: 0x" + "f" * 5000, "digits"),
        ("a: 0o" + "7" * 5000, "digits"),
        ("a: !!int " + "9" * 5000, "digits"),
    ],
)
def test_limits_say_their_name(text: str, limit: str) -> None:
    (problem,) = refused(text).problems
    assert problem.code == "limit"
    assert f"the limit {limit} ({LIMITS[limit]})" in problem.message
    assert problem.span is not None


def test_the_number_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "nodes", 100)
    assert "the limit nodes (100)" in refused("[" + "1, " * 200 + "]").problems[0].message
    assert read_text("[" + "1, " * 90 + "]", "t.yaml")


def test_a_bomb_of_aliases_is_refused_before_it_takes_memory() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert "the limit alias-expansion" in refused("\n".join(lines)).problems[0].message


@pytest.mark.parametrize("text", ["1" * 1000, "-" + "1" * 999, "0." + "1" * 3000, "1e-400"])
def test_long_numbers_within_the_limits(text: str) -> None:
    assert isinstance(core_value(text), (int, float))


def test_all_duplicate_keys_are_reported_at_once() -> None:
    found = refused("a: 1\na: 2\nb: {c: 1, c: 2, 'c': 3}\n1: x\n1: y")
    assert [(p.code, p.span.line, p.span.column) for p in found.problems if p.span] == [
        ("duplicate-key", 2, 1),
        ("duplicate-key", 3, 11),
        ("duplicate-key", 3, 17),
        ("duplicate-key", 5, 1),
    ]
    assert found.problems[0].hint == "the first stands in line 1"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("a: [1, 2", "[ is never closed", (1, 4)),
        ("a: {b: 1", "{ is never closed", (1, 4)),
        ("a: 'b", "' is never closed", (1, 4)),
        ('a: "b', '" is never closed', (1, 4)),
        ("a: {b: 1\nc: 2", "expected ',' or '}'", (2, 2)),
        ("a: b: c", "a ':' where no mapping can begin", (1, 5)),
        ("a:\n\tb: 1", "a tab cannot indent", (2, 1)),
        ("a: @b", "a character that nothing can begin with", (1, 4)),
        ("a: *b", "the alias '*b' stands for nothing defined before it", (1, 4)),
        ("a: 1\n---\nb: 2", "a spec is one YAML document; a second begins here", (2, 1)),
        ("a: b\x07", "a character that YAML does not allow: U+0007", (1, 5)),
        ('a: "\\q"', "no such escape after '\\'", (1, 5)),
        ("a: -", "a list with dashes cannot begin here", (1, 4)),
        ("- a\nb: 1", "an entry of a list begins with '-'", (2, 1)),
        ("a: 1\n  b: 2", "a ':' where no mapping can begin", (2, 4)),
        ("a:\n  b: 1\n c: 2", "a key does not stand where the keys before it do", (3, 2)),
    ],
)
def test_syntax_errors_in_words(text: str, message: str, place: tuple[int, int]) -> None:
    (problem,) = refused(text).problems
    assert problem.code == "yaml"
    assert problem.message == message
    assert problem.span is not None
    assert (problem.span.line, problem.span.column) == place


@pytest.mark.parametrize(
    "tag",
    ["!!python/object:os.system", "!!python/object/apply:os.system", "!!python/name:os.system",
    "!!timestamp", "!!binary",
     "!!set", "!!omap", "!x", "!<tag:x,2026:y>"],
)  # fmt: skip
def test_tags_construct_nothing(tag: str) -> None:
    (problem,) = refused(f"a: {tag} x").problems
    assert problem.code == "yaml-tag"
    assert tag.strip("<>!") in problem.message.replace("!!", "")


def test_a_tag_that_does_not_fit_its_value() -> None:
    assert refused("a: !!int x").problems[0].message == "'x' is not a YAML int"
    assert refused("a: !!float [1]").problems[0].message == "a list is not a YAML float"
    assert refused("a: !!seq {b: 1}").problems[0].message == "a mapping is not a YAML seq"
    assert refused("a: !!map b").problems[0].message == "'b' is not a YAML map"
    assert plain(read_text("{a: !!seq [1], b: !!map {c: 1}, d: ! [2]}", "t.yaml")) == {
        "a": [1],
        "b": {"c": 1},
        "d": [2],
    }


@pytest.mark.parametrize("text", ["a: 1\r\nb: [x,\r\n  y]\r\n", "a: 1\rb: [x,\r  y]\r", "a: 1\u2028b: [x, y]"])
def test_every_kind_of_line_end(text: str) -> None:
    tree = read_text(text, "t.yaml")
    assert plain(tree) == {"a": 1, "b": ["x", "y"]}
    span = below(tree, "b", 0).span
    assert span.source.line(span.line)[span.column - 1] == "x"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("{a: 1}", "a mapping"),
        ("[1, 2]", "a list of 2"),
        ("[]", "an empty list"),
        ("~", "an empty value"),
        ("x", "the string 'x'"),
        ("true", "true"),
        ("1.5", "the number 1.5"),
        ("x" * 500, "the string '" + "x" * 60 + "'"),
    ],
)
def test_what_messages_call_a_node(node: str, words: str) -> None:
    assert kind_of(read_text(node, "t.yaml")) == words


@given(st.text(max_size=60))
def test_any_text_is_a_tree_or_a_report(text: str) -> None:
    try:
        spans = [scalar.span for scalar in walk(read_text(text, "t.yaml"))]
    except SpecError as error:
        spans = [problem.span for problem in error.problems if problem.span] or [Span(Source("", ""), 0, 0)]
    assert all(span.line >= 1 and span.column >= 1 for span in spans)
