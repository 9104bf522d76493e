"""Every rule against its cases: tests/data/lint/RULE/{bad,good}-*.yaml, and the examples in its own texts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from kbuild.errors import InputError, Source
from kbuild.lint.check import lint, report
from kbuild.lint.finding import LEVELS
from kbuild.lint.fix import ACTIONS
from kbuild.lint.rules import BY_ID, RULES, chosen, rule
from kbuild.lint.subject import read_subject
from kbuild.plan.pipeline import plan_spec
from kbuild.resources import specs_dir
from kbuild.spec.load import parse_spec

CASES = Path(__file__).parent.parent / "data" / "lint"
#: Its cases are pairs of orders, in test_commuting.py.
PAIRS = "commuting-orders"


def cases(kind: str) -> list:
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in sorted(CASES.glob(f"*/{kind}-*.yaml"))]


def findings(text: str, name: str = "spec.yaml"):
    spec = parse_spec(text, name=name)
    return lint(plan_spec(spec), spec.train, spec.source)


@pytest.mark.parametrize("path", cases("bad"))
def test_what_is_wrong_is_found_at_its_place(path: Path) -> None:
    text = path.read_text("utf-8")
    found = [one for one in findings(text) if one.rule == path.parent.name]
    places = [f"{one.span.line}:{one.span.column} {one.layer or '-'}" for one in found]
    assert places == re.findall(r"^# finds: (.*)$", text, re.M)
    (says,) = re.findall(r"^# says: (.*)$", text, re.M)
    assert any(says in one.message + one.hint for one in found)


@pytest.mark.parametrize("path", cases("good"))
def test_what_is_right_is_not_found(path: Path) -> None:
    assert path.parent.name not in {one.rule for one in findings(path.read_text("utf-8"))}


def test_every_rule_has_two_cases_of_each_kind() -> None:
    for kind in ("bad", "good"):
        count = Counter(path.parent.name for path in CASES.glob(f"*/{kind}-*.yaml"))
        assert {name for name, number in count.items() if number >= 2} == set(BY_ID) - {PAIRS}


@pytest.mark.parametrize("one", [one for one in RULES if one.id != PAIRS], ids=lambda one: one.id)
def test_a_rule_finds_its_own_bad_example_and_not_its_good_one(one) -> None:
    assert one.id in {found.rule for found in findings(one.bad.lstrip())}
    good = findings(one.good.lstrip())
    assert not [found for found in good if found.rule == one.id or found.level != "info"]


@pytest.mark.parametrize("one", RULES, ids=lambda one: one.id)
def test_a_rule_is_complete(one) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", one.id)
    assert one.level in LEVELS
    assert one.says and not one.says.endswith(".")
    assert len(one.why.split()) > 30
    assert one.source


def test_rules_are_those_of_the_table() -> None:
    levels = {one.id: one.level for one in RULES}
    assert levels == {
        "bias-before-norm": "warning",
        "dropout-before-norm": "warning",
        "dropout-upstream-of-norm": "info",
        "norm-on-logits": "warning",
        "dropout-on-output": "error",
        "elementwise-dropout-on-conv": "info",
        "small-batch-norm": "warning",
        "norm-statistics-unconverged": "warning",
        "weight-decay-on-norm": "info",
        "redundant-scale": "info",
        "high-dropout-with-norm": "info",
        "norm-on-residual-trunk": "warning",
        "dropout-on-shortcut": "warning",
        "alpha-dropout-without-selu": "error",
        "selu-with-norm": "warning",
        "unclosed-preactivation": "warning",
        "norm-does-not-fold": "info",
        "loss-activation-mismatch": "error",
        "double-activation": "warning",
        "commuting-orders": "info",
        "unused-ignore": "warning",
    }


def test_fixes_are_known_and_announced() -> None:
    seen = set()
    for path in CASES.glob("*/bad-*.yaml"):
        for one in findings(path.read_text("utf-8")):
            if one.fix is not None:
                assert BY_ID[one.rule].fix
                assert one.fix.action in ACTIONS
                assert one.fix.keeps in ("function", "predictions")
                seen.add(one.rule)
    assert seen == {one.id for one in RULES if one.fix}


@pytest.mark.parametrize("path", sorted(specs_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_have_no_warning(path: Path) -> None:
    subject = read_subject(path)
    found = lint(subject.plan, subject.train, subject.text, folder=subject.folder, included=subject.included)
    assert [one for one in found if one.level != "info"] == []


def test_a_plan_alone_is_enough() -> None:
    plan = plan_spec(parse_spec(BY_ID["dropout-before-norm"].bad))
    (found,) = [one for one in lint(plan) if one.level == "warning"]
    assert (found.rule, found.layer, found.fix) == ("dropout-before-norm", "dense1_drop", None)


def test_rules_read_plans_whose_shapes_only_keras_knows() -> None:
    text = """
input: {shape: [64]}
ordering: W-A-D-N
layers:
  - STFTSpectrogram: {frame_length: 16, frame_step: 8}
  - Conv1D: {filters: 4, kernel_size: 3, activation: relu}
  - GlobalAveragePooling1D
  - Dense: 3
"""
    spec = parse_spec(text)
    plan = plan_spec(spec)
    assert plan.unresolved
    assert "dropout-before-norm" in {one.rule for one in lint(plan, spec.train, spec.source)}


def test_findings_come_in_the_order_of_their_places() -> None:
    text = (CASES / "dropout-before-norm" / "bad-elu.yaml").read_text("utf-8")
    places = [(one.span.line, one.span.column) for one in findings(text)]
    assert places == sorted(places)


def test_blocks_in_an_included_file_are_shown_and_suppressed_there(tmp_path: Path) -> None:
    block = "blocks:\n  unit:\n    layers:\n      - Dense: {units: 8, activation: relu, use_bias: true}%s\n"
    main = "include: [b.yaml]\ninput: {shape: [4]}\nordering: W-N-A\nlayers: [{use: unit}, {Dense: 3}]\n"
    (tmp_path / "spec.yaml").write_text(main)
    (tmp_path / "b.yaml").write_text(block % "")
    subject = read_subject(tmp_path / "spec.yaml")
    (one,) = lint(subject.plan, text=subject.text, included=subject.included)
    assert one.span.place == f"{tmp_path / 'b.yaml'}:4:9"
    assert one.span.source.line(4).lstrip().startswith("- Dense")
    assert one.fix is None  # only the spec's own text is mended
    assert one.hint.endswith("; --fix leaves included files as they are: other specs may read them")
    (tmp_path / "b.yaml").write_text(block % " # kbuild: ignore[bias-before-norm]")
    subject = read_subject(tmp_path / "spec.yaml")
    result = report(subject.plan, text=subject.text, included=subject.included)
    assert (result.findings, len(result.suppressed)) == ((), 1)


def test_rules_are_chosen_by_name() -> None:
    assert chosen() == RULES
    assert [one.id for one in chosen(["small-batch-norm"])] == ["small-batch-norm"]
    assert len(chosen(ignore=["small-batch-norm"])) == len(RULES) - 1
    with pytest.raises(InputError, match="there is no rule 'small-batch'; did you mean 'small-batch-norm'"):
        rule("small-batch")
    with pytest.raises(InputError, match="--explain all"):
        rule("xyz")


def test_a_suppression_of_a_rule_that_does_not_run_is_not_judged() -> None:
    text = BY_ID["unused-ignore"].bad.lstrip()
    spec = parse_spec(text)
    source = Source("spec.yaml", text)
    assert lint(plan_spec(spec), text=source, rules=chosen(ignore=["dropout-before-norm"])) == ()
    found = lint(plan_spec(spec), text=source, rules=chosen(["unused-ignore", "dropout-before-norm"]))
    assert [one.rule for one in found] == ["unused-ignore"]
