"""The table of a plan: what a person reads, and what very long plans print instead of a laid-out table."""

from __future__ import annotations

import pytest

from kbuild.plan.pipeline import plan_spec
from kbuild.show import table
from kbuild.spec.load import parse_spec

SPEC = """\
input: {shape: [4]}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - {Dense: {units: 3, activation: relu}, name: a, dropout: 0}
  - {Dense: {units: 2, activation: softmax}, name: out}
"""


def test_the_table_shows_orders_layers_and_reasons() -> None:
    text = table.render(plan_spec(parse_spec(SPEC)))
    assert "W-N-A-(D)" in text
    assert "D: dropout: 0 (dropout of a, line 4)" in text
    assert "no bias: a_bn behind it has beta" in text
    assert all(len(line) <= table.WIDTH for line in text.splitlines())


def test_one_is_one() -> None:
    text = table.render(plan_spec(parse_spec("input: {shape: [4]}\nlayers: [{Dense: 3}]\n")))
    assert text.splitlines()[1] == "1 unit, 2 layers, 15 parameters, 15 trainable"


def test_a_long_plan_prints_the_same_facts_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_spec(parse_spec(SPEC))
    laid_out = table.render(plan).split()
    monkeypatch.setattr(table, "LONG", 1)
    text = table.render(plan)
    assert sorted(text.replace(";", "").split()) == sorted(word.replace(";", "") for word in laid_out)
    rows = text.splitlines()
    assert sum(line.startswith(("input ", "a ", "a_bn ", "a_relu ", "out ", "out_softmax ")) for line in rows) == 8
