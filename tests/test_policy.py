"""Orders and the table of policies, held against the literature they come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbuild import policy
from kbuild.policy import BY_NAME, LETTERS, POLICIES, OrderError, all_orders, find, looks_like_order, parse_order

#: Requirements on the project that stand beside a checkout, where there are any.
LITERATURE = Path(__file__).parents[2] / "shared" / "literature.md"


def test_there_are_49_orders() -> None:
    orders = [str(order) for order in all_orders()]
    assert len(orders) == len(set(orders)) == 49
    by_size = [sum(order.count("-") == size for order in orders) for size in range(4)]
    assert by_size == [1, 6, 18, 24]
    assert all(order.count("W") == 1 and set(order) <= set("WNAD-") for order in orders)


@pytest.mark.parametrize("order", list(all_orders()), ids=str)
def test_every_order_reads_back_both_ways_it_is_written(order: policy.Order) -> None:
    assert parse_order(str(order)) == parse_order("".join(order.letters)) == order
    assert (*order.before, "W", *order.after) == order.letters
    assert find(str(order)) == (None, order)
    assert all((letter in order) == (letter in str(order)) for letter in LETTERS)


@given(st.text(alphabet="WNADP", min_size=1, max_size=6))
def test_an_order_is_any_arrangement_with_one_w(text: str) -> None:
    good = text.count("W") == 1 and len(set(text)) == len(text)
    if good:
        assert "".join(parse_order(text).letters) == text
    else:
        with pytest.raises(OrderError):
            parse_order(text)


@given(st.text(max_size=20))
def test_any_text_is_found_or_refused_with_a_reason(text: str) -> None:
    refused = None
    try:
        named, order = find(text)
    except OrderError as error:
        refused = error
    if refused is None:
        assert named is BY_NAME.get(text)
        assert order.letters.count("W") == 1
    else:
        assert refused.message
        assert refused.code in ("bad-order", "unknown-policy")
        assert len(str(refused)) < 300


@pytest.mark.parametrize(
    ("text", "message", "hint", "code"),
    [
        ("W-N-W", "the letter W stands twice in 'W-N-W'", "", "bad-order"),
        ("N-A-D", "'N-A-D' holds no W, the weight layer the letters stand around", "", "bad-order"),
        ("W-X", "'X' is not a letter of an order", "the letters are W (weight layer), N (norm", "bad-order"),
        ("w-n-a", "'w-n-a' is not an order", "write W-N-A", "bad-order"),
        ("W → N → A", "'W → N → A' is not an order", "write W-N-A", "bad-order"),
        ("", "neither a policy's name nor an order: the text is empty", "for example W-N-A-D", "bad-order"),
        ("preakt", "there is no policy 'preakt'", "did you mean 'preact'?", "unknown-policy"),
        ("scheme-7", "there is no policy 'scheme-7'", "`kbuild policies` lists them", "unknown-policy"),
    ],
)
def test_what_is_refused(text: str, message: str, hint: str, code: str) -> None:
    with pytest.raises(OrderError) as caught:
        find(text)
    assert (caught.value.message, caught.value.code) == (message, code)
    assert caught.value.hint.startswith(hint)
    assert bool(caught.value.hint) == bool(hint)


def test_names_and_orders_never_mix() -> None:
    assert not any(looks_like_order(name) for name in BY_NAME)
    assert all(looks_like_order(str(order)) for order in all_orders())


def test_every_policy_says_what_it_is_and_who_says_so() -> None:
    assert len(POLICIES) == len(BY_NAME) == 17
    for one in POLICIES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", one.name)
        assert one.summary.endswith(".")
        assert one.source
        assert set(one.defaults) <= {"activation", "initializer", "dropout", "where", "head_dropout"}


def table_of_the_literature() -> dict[str, tuple[str, bool]]:
    """Policy name → its order, and whether the table says in words where a D stands besides."""
    rows = re.findall(r"^\| `([a-z-]+)`[^|]*\| *([WNAD-]+)([^|]*)\|", LITERATURE.read_text(encoding="utf-8"), re.M)
    return {name: (order, " D " in words) for name, order, words in rows}


@pytest.mark.skipif(not LITERATURE.is_file(), reason="the requirements do not stand beside this checkout")
def test_the_policies_are_those_of_the_literature() -> None:
    table = table_of_the_literature()
    assert list(BY_NAME) == list(table)
    for name, (order, in_words) in table.items():
        # A D that stands at some units only is in the order, and `where` says at which.
        ours = BY_NAME[name]
        assert str(ours.order).replace("-D" if in_words else "\0", "") == order
        assert in_words == ("where" in ours.defaults)


@pytest.mark.parametrize(
    ("name", "order", "defaults"),
    [
        ("plain", "W-A", {}),
        ("no-dropout", "W-N-A", {}),
        ("conventional", "W-N-A-D", {}),
        ("dropout-before-bn", "W-A-D-N", {}),
        ("after-activation", "W-A-N-D", {}),
        ("preact", "N-A-W", {}),
        ("ic", "N-D-W-A", {"dropout": {"rate": 0.05}}),
        ("large-batch", "W-N-A-D", {"dropout": {"rate": 0.125}}),
        ("selu", "W-A-D", {"activation": "selu", "initializer": "lecun_normal", "dropout": {"kind": "auto"}}),
    ],
)
def test_numbers_of_the_papers(name: str, order: str, defaults: dict[str, object]) -> None:
    assert str(BY_NAME[name].order) == order
    assert dict(BY_NAME[name].defaults) == defaults


def test_rates_that_depend_on_the_place() -> None:
    rate = BY_NAME["dropout-only"].defaults["dropout"]["rate"]
    assert rate["dense"] == 0.5
    assert 0.1 <= rate["conv"] <= 0.25
    assert BY_NAME["wide-preact"].defaults["dropout"]["rate"] == 0.3
    assert BY_NAME["wide-preact"].defaults["where"]["dropout"] == "branch"
    assert 0.1 <= BY_NAME["last-dropout"].defaults["dropout"]["rate"] <= 0.2
    assert BY_NAME["last-dropout"].defaults["where"]["dropout"] == "last"
    assert BY_NAME["branch-dropout"].defaults["where"]["dropout"] == "branch"
    assert policy.DEFAULT_POLICY == "conventional"
