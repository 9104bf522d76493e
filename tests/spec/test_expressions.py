"""Arithmetic after `=`: what it takes, what it refuses, and that nothing else ever runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbuild.errors import Problem
from kbuild.spec.expressions import LIMITS, ExpressionError, evaluate, is_expression
from kbuild.spec.reader import plain, read_text
from kbuild.spec.resolve import resolve

NAMES = {"width": 16, "rate": 0.5, "i": 3, "word": "relu", "many": [1, 2], "on": True, "nothing": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("=width", 16),
        ("= width ", 16),
        ("=2*width", 32),
        ("=width//3", 5),
        ("=width/3", 16 / 3),
        ("=width % 5", 1),
        ("=2**i", 8),
        ("=-width + +1", -15),
        ("=(width + i) * 2", 38),
        ("=min(width, 4, i)", 3),
        ("=max(width, 4)", 16),
        ("=round(rate * 5)", 2),
        ("=round(rate / 3, 2)", 0.17),
        ("=int(rate * 5)", 2),
        ("=i > 2", True),
        ("=1 < i < 3", False),
        ("=i == 3", True),
        ("=i != 3", False),
        ("=i >= 3", True),
        ("=i <= 2", False),
        ("=on + 1", 2),
        ("=1e3", 1000.0),
        ("=word", "relu"),
        ("=many", [1, 2]),
        ("=nothing", None),
    ],
)
def test_values(text: str, value: object) -> None:
    found = evaluate(text, NAMES)
    assert found == value
    assert type(found) is type(value)


def test_what_is_an_expression() -> None:
    assert is_expression("=1")
    assert not any(map(is_expression, ["1", "", "=", None, 3, "a=1", " =1"]))


ATTACKS = [
    "__import__('os').system('true')", "open('/etc/passwd')", "().__class__", "width.real", "width.__class__.__mro__",
    "exec('1')", "eval('1')", "globals()", "print(1)", "getattr(1, 'real')", "type(1)", "[].append(1)", "[1][0]",
    "{1: 2}", "{1}", "(1, 2)", "[x for x in many]", "lambda: 1", "(lambda: 1)()", "width if i else 0", "i and width",
    "not i", "i in many", "i is i", "'a' * 9", "'a' + 'b'", "f'{width}'", "'%s' % width", "b'a'", "...", "1j",
    "1 if 1 else 2",     "width; i", "width = 3", "x := 3", "(x := 3)",
    "*many", "max(*many)", "max(many)", "int('3')", "int(x=3)", "min(**{})",
    "many[0]", "many * 2", "word * 2", "word + 1", "~i", "i << 60", "i | 1", "i ^ 1", "i & 1", "i @ i",
    "yield", "await i",
    "import os", "None", "True + 'a'", "min", "min.__call__", "width\nwidth", "'", "(", ")", "1 +", "1 2", "=1",
    "\x00", "\u00b2", "0777", "1_0__0", "9" * 5000, "(" * 300, "-" * 5000 + "1", "1" + "+1" * 3000, "not_defined",
]  # fmt: skip


@pytest.mark.parametrize("body", ATTACKS, ids=lambda body: repr(body[:30]))
def test_everything_else_is_refused_with_a_reason(body: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(f"={body}", NAMES)
    assert str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("9**9**9**9", "exponent"),
        ("2**-65", "exponent"),
        ("round(7, -10**9)", "exponent"),
        ("10**16", "expression-value"),
        ("10**15 + 1", "expression-value"),
        ("(10**15 + 1) - 10**15", "expression-value"),
        ("1e300 * 1e300", "expression-value"),
        ("1e999 - 1e999", "expression-value"),
        ("1" + "+1" * 100, "expression-length"),
    ],
)
def test_limits_say_their_name(body: str, limit: str) -> None:
    with pytest.raises(ExpressionError, match=f"the limit {limit} of {LIMITS[limit]:,}"):
        evaluate(f"={body}", {})


def test_powers_that_would_take_for_ever_are_refused_at_once() -> None:
    # Each of these would run for minutes or fill memory; a limit that failed would hang here.
    for body in ("9**9**9**9", "(9**64)**64", "2**64**64", "round(1, -10**9)", "10**64 % 7"):
        with pytest.raises(ExpressionError):
            evaluate(f"={body}", {})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("=widht", "'widht' is not defined", "did you mean 'width'?"),
        ("=a", "'a' is not defined", "names here: i, many, nothing, on, rate, width, word"),
        ("=1/0", "'1/0' divides by zero", ""),
        ("=1 % 0", "'1 % 0' divides by zero", ""),
        ("=1//0", "'1//0' divides by zero", ""),
        ("=0**-1", "'0**-1' divides by zero", ""),
        ("=sqrt(4)", "there is no function 'sqrt'", "functions: min, max, round, int"),
        ("=max(1)", "max takes 2 to 9 numbers, not 1", ""),
        ("=int()", "int takes 1 number, not 0", ""),
        ("=word + 1", "'word + 1' calculates with something that is not a number", ""),
        ("=min(1", "'min(1' is not arithmetic", "inside { } or [ ] a comma ends the value"),
        ("=many[0]", "'many[0]' is more than arithmetic", "it takes numbers, names, + - * / // % **"),
    ],
)
def test_messages(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, NAMES)
    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)
    assert bool(caught.value.hint) == bool(hint)


def test_an_index_outside_a_repeat_and_no_names_at_all() -> None:
    for text, hint in (("=i", "`i` is the index of `repeat`"), ("=a", "`vars` defines names")):
        with pytest.raises(ExpressionError) as caught:
            evaluate(text, {})
        assert caught.value.hint.startswith(hint)


@given(st.text(max_size=40))
def test_any_text_has_a_value_or_a_reason(text: str) -> None:
    try:
        value = evaluate(f"={text}", NAMES)
    except ExpressionError as error:
        value = len(str(error))
    assert text.strip() in NAMES or isinstance(value, (int, float))


@given(st.recursive(
    st.integers(-99, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "=="]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=6,
))  # fmt: skip
def test_arithmetic_is_that_of_python(body: str) -> None:
    try:
        expected = eval(body)  # numbers and operators of this test alone
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="divides by zero"):
            evaluate(f"={body}", {})
    else:
        assert evaluate(f"={body}", {}) == expected


def test_every_expression_of_a_tree_is_resolved_and_quoted_ones_are_strings() -> None:
    problems: list[Problem] = []
    tree = read_text("{a: =width, b: [=i, '=i', \"=i\"], c: {d: =word}, e: 3, =f: x}", "t.yaml")
    found = resolve(tree, NAMES, problems)
    assert plain(found) == {"a": 16, "b": [3, "=i", "=i"], "c": {"d": "relu"}, "e": 3, "=f": "x"}
    assert not problems


def test_a_tree_without_expressions_is_the_same_object() -> None:
    tree = read_text("{a: 1, b: [x, '=y']}", "t.yaml")
    assert resolve(tree, {}, []) is tree


def test_all_problems_of_a_tree_each_at_its_place() -> None:
    problems: list[Problem] = []
    resolve(read_text("a: =x\nb: [1, =y]", "t.yaml"), {}, problems)
    assert [(p.code, p.span.line, p.span.column) for p in problems if p.span] == [
        ("expression", 1, 4),
        ("expression", 2, 8),
    ]
