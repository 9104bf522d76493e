"""What is written reads back: every value, its type, and whether a string is an expression."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbuild.errors import Source, Span
from kbuild.resources import spec_names, spec_path
from kbuild.spec.load import load_spec, parse_spec
from kbuild.spec.reader import Items, Mapping, Node, Scalar, core_value, plain, read_file, read_text
from kbuild.spec.resolve import as_node
from kbuild.spec.writer import write_yaml

HERE = Span(Source("t", ""), 1, 1)

TEXT = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(
        ["no", "1", "1e3", "~", "", "=1", "= x", "- a", "a: b", "#", "'", '"', "\n", "a\nb\n", "\t", " x ", "%"]
    ),
    st.sampled_from(
        ["0x10", ".inf", "true", "null", "<<", "=", "!", "&a", "*a", "? ", "|", ">", "{", "---", "\x85", "\u2028"]
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    TEXT,
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXT, inner, max_size=8), max_leaves=25
)


def same(one: Any, other: Any) -> bool:
    """Equal, with the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and str(one) == str(other)


@given(DATA)
def test_any_data_reads_back(data: Any) -> None:
    assert same(plain(read_text(write_yaml(as_node(data, HERE)), "t.yaml")), data)


@given(st.dictionaries(TEXT, TEXT, max_size=6))
def test_strings_that_look_like_expressions_stay_strings(data: dict[str, str]) -> None:
    found = read_text(write_yaml(as_node(data, HERE)), "t.yaml")
    assert isinstance(found, Mapping)
    for _, value in found:
        assert isinstance(value, Scalar)
        assert value.quoted or not str(value.value).startswith("=")


def test_expressions_stay_expressions() -> None:
    text = "a: =2*width\nb: '=2*width'\nc: [=i, =i + 1]\n"
    found = read_text(write_yaml(read_text(text, "t.yaml")), "t.yaml")
    assert isinstance(found, Mapping)
    assert [node.quoted for _, node in found if isinstance(node, Scalar)] == [False, True]
    assert plain(found) == {"a": "=2*width", "b": "=2*width", "c": ["=i", "=i + 1"]}


def test_not_a_number() -> None:
    assert math.isnan(plain(read_text(write_yaml(Scalar(float("nan"), HERE)), "t.yaml")))


@pytest.mark.parametrize("value", ["no", "1e-3", "0o7", "~", "", "1_000", "yes", "0b1", "12:30", "2026-11-20"])
def test_strings_are_quoted_where_either_version_of_yaml_reads_them_otherwise(value: str) -> None:
    written = write_yaml(as_node({"a": value}, HERE)).removeprefix("a: ").strip()
    if core_value(value) != value:
        assert written == f"'{value}'"
    assert core_value(written.strip("'")) == core_value(value)


def test_small_collections_stand_on_one_line_and_nothing_is_aliased() -> None:
    shared = [1, 2]
    text = write_yaml(as_node({"a": shared, "b": shared, "c": {"d": [[1], [2]]}}, HERE))
    assert text == "a: [1, 2]\nb: [1, 2]\nc:\n  d:\n  - [1]\n  - [2]\n"


@pytest.mark.parametrize("name", spec_names())
def test_shipped_specs_read_back(name: str) -> None:
    _, tree = read_file(spec_path(name))
    assert plain(read_text(write_yaml(tree), "t.yaml")) == plain(tree)


@pytest.mark.parametrize("name", spec_names())
def test_a_resolved_spec_is_the_same_spec(name: str) -> None:
    spec = load_spec(spec_path(name), "W-A-D", ["train.epochs=3"])
    again = parse_spec(spec.resolved_text())
    assert again.resolved_text() == spec.resolved_text()
    assert (again.name, again.vars, again.train is not None) == (spec.name, spec.vars, True)
    assert again.train is not None
    assert again.train.epochs == 3
    assert str(again.ordering.order.value) == "W-A-D"  # type: ignore[union-attr]


def leaves(node: Node) -> int:
    if isinstance(node, Scalar):
        return 1
    return sum(map(leaves, node.items if isinstance(node, Items) else [value for _, value in node]))


@given(DATA)
def test_nothing_is_lost(data: Any) -> None:
    node = as_node(data, HERE)
    assert leaves(read_text(write_yaml(node), "t.yaml")) == leaves(node)
