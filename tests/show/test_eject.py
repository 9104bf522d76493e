"""Ejected code: what it builds, how it reads, and that nothing of a spec becomes code."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.errors import SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES, all_orders
from kbuild.resources import specs_dir
from kbuild.show.eject import eject
from kbuild.show.eject.fold import faithful, flat, fold
from kbuild.show.eject.layout import WIDTH
from kbuild.show.eject.program import usual
from kbuild.spec.load import load_spec, parse_spec

from . import recorder
from .test_diff import RESIDUAL

CASES = sorted((Path(__file__).parent.parent / "data" / "compile").glob("*.yaml"))
SPECS = sorted(specs_dir().rglob("*.yaml"))


def plan(text: str = RESIDUAL, ordering: str | None = None) -> Plan:
    return plan_spec(parse_spec(text, ordering))


def check(resolved: Plan) -> str:
    """Run the ejected code on the stand-in; every layer, argument, connection and output must be the plan's."""
    source = eject(resolved)
    built = recorder.run(source)
    planned = {layer.name: (layer.cls, usual(layer.cls, layer.config), layer.inputs) for layer in resolved.layers}
    made = {one.name: (one.cls, usual(one.cls, one.config), one.inputs) for one in built.layers.values()}
    assert made == planned, source
    assert (built.name, built.outputs) == (resolved.name, list(resolved.outputs))
    assert built.inputs == [layer.name for layer in resolved.inputs]
    assert max(map(len, source.splitlines())) <= WIDTH or "\\" in source
    return source


@pytest.mark.parametrize("order", [str(order) for order in all_orders()] + [policy.name for policy in POLICIES])
def test_every_order_of_a_residual_network(order: str) -> None:
    resolved = plan(ordering=order)
    source = check(resolved)
    assert "def bottleneck(" in source and "for i in range(" in source


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_shipped_spec(path: Path) -> None:
    for ordering in (None, "N-A-W", "W-A-D-N"):
        check(plan_spec(load_spec(path, ordering)))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_case_of_the_compiler(path: Path) -> None:
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    try:
        resolved = plan(yaml.safe_dump(spec, sort_keys=False))
    except SpecError:
        pytest.skip("a case that is refused")
    check(resolved)


def test_it_reads_as_a_person_would_write_it() -> None:
    source = check(plan())
    assert (
        "\n".join(
            [
                "def bottleneck(x, name, filters):",
                '    """The block bottleneck."""',
                "    shortcut = x",
                '    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_conv1")(x)',
            ]
        )
        in source
    )
    assert '    x = layers.Conv2D(4 * filters, 1, use_bias=False, name=f"{name}_conv3")(x)' in source
    assert "def bottleneck_with_projection(x, name):" in source
    assert (
        '    shortcut = layers.Conv2D(32, 1, strides=2, use_bias=False, name=f"{name}_shortcut1")(shortcut)' in source
    )
    assert '    for i in range(1, 4):\n        x = bottleneck(x, name=f"bottleneck{i}", filters=4)' in source
    assert "kbuild" not in source.split('"""')[2]


NESTED = """
name: nested
input: {shape: [8]}
ordering: W-N-A-D
blocks:
  pair:
    params: {units: required, times: 2, rate: 0.1}
    layers:
      - repeat:
          times: =times
          layers: [{Dense: {units: =units, activation: relu}, dropout: =rate}]
  tower:
    params: {units: required}
    layers:
      - repeat: {times: 2, layers: [{use: pair, with: {units: =units, times: 3}}]}
      - {use: pair, with: {units: =2*units, times: 4}}
layers:
  - {use: tower, with: {units: 8}}
  - {use: tower, with: {units: 16}, name: second}
  - repeat:
      times: 3
      layers:
        - {Dense: {units: =8 * (i + 1), activation: relu}, name: widening}
        - repeat: {times: 2, layers: [{Dense: {units: 8, activation: relu}}]}
  - Dense: 2
"""


def test_repeats_in_blocks_in_repeats() -> None:
    source = check(plan(NESTED))
    assert "def pair(x, name, times, units):" in source
    assert "    for i in range(1, times + 1):" in source
    assert "def tower(x, name, units):" in source
    assert "for i, units in enumerate((8, 16, 24), start=1):" in source
    assert "for j in range(2 * i - 1, 2 * i + 1):" in source


def test_paths_that_split_and_join() -> None:
    source = check(
        plan(
            """
            input: {shape: [8, 8, 4]}
            ordering: W-A
            layers:
              - {Conv2D: {filters: 4, kernel_size: 1, activation: relu}}
              - residual:
                  merge: Multiply
                  layers:
                    - GlobalAveragePooling2D: {keepdims: true}
                    - {Conv2D: {filters: 4, kernel_size: 1, activation: sigmoid}, name: gate}
              - branches:
                  paths:
                    - [{Conv2D: {filters: 4, kernel_size: 1, activation: relu}}]
                    - [{Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: relu}}]
                    - [{MaxPooling2D: {pool_size: 3, strides: 1, padding: same}}]
              - Flatten
              - {Dense: 3, name: out}
            """
        )
    )
    assert 'gate = layers.GlobalAveragePooling2D(keepdims=True, name="gap1")(x)' in source
    assert "([gate, x])" in source
    assert "([branch_1, branch_2, branch_3])" in source


def test_several_inputs_and_outputs() -> None:
    source = check(
        plan(
            """
            inputs: {image: {shape: [8, 8, 1]}, meta: {shape: [3], dtype: int32}}
            layers:
              - {Flatten: {}, from: image, name: flat}
              - {Dense: {units: 4, activation: relu}, from: meta, name: small}
              - {Concatenate: {}, from: [flat, small], name: both}
              - {Dense: 2, name: one}
              - {Dense: 3, from: both, name: other}
            """
        )
    )
    assert 'meta = keras.Input(shape=(3,), dtype="int32", name="meta")' in source
    assert "keras.Model([image, meta], [one, other], " in source


def test_objects_are_made_by_name() -> None:
    source = check(
        plan(
            """
            input: {shape: [8]}
            layers:
              - Dense:
                  units: 4
                  activation: relu
                  kernel_initializer: {VarianceScaling: {scale: 2.0, mode: fan_out}}
                  kernel_regularizer: {L2: 0.0001}
                  kernel_constraint: {MaxNorm: 3}
              - {Reshape: {target_shape: [2, 2]}}
              - {Bidirectional: {layer: {LSTM: {units: 3}}}}
              - Dense: 2
            """
        )
    )
    assert 'keras.initializers.VarianceScaling(scale=2.0, mode="fan_out")' in source
    assert "keras.regularizers.L2(" in source and "keras.constraints.MaxNorm(" in source
    assert "layers.Bidirectional(layers.LSTM(3), " in source


def test_a_block_that_cannot_be_a_function_is_written_out() -> None:
    source = check(
        plan(
            """
            input: {shape: [4]}
            ordering: W-A
            blocks:
              pair:
                layers:
                  - {Dense: {units: 4, activation: relu}, name: d}
                  - {Dense: {units: 4, activation: relu}, name: e}
            layers:
              - {use: pair, name: a}
              - {use: pair, name: b}
              - {Add: {}, from: [a_d, b], name: join}
              - {Dense: 1, name: out}
            """
        )
    )
    assert "def pair" in source and 'name="a_d"' in source


def test_an_unfaithful_program_is_noticed() -> None:
    resolved, other = plan(), plan(ordering="W-A")
    assert faithful(fold(resolved), resolved) and faithful(flat(resolved), resolved)
    assert not faithful(fold(resolved), other)


HOSTILE = ['");import os;("', "a'b\"c", "{name}", "x\\", "é\u2028ü", "a b", '"""', "1st", "a\nimport os"]
WORDS = ["class", "keras", "x", "i", "branch_2", "build_model", "print", "filters", "layers"]


@pytest.mark.parametrize("word", [*HOSTILE, *WORDS])
@pytest.mark.parametrize("place", ["model", "layer", "block", "label", "input"])
def test_nothing_of_a_spec_becomes_code(word: str, place: str) -> None:
    called = {"model": "m", "layer": "l", "block": "b", "label": "u", "input": "in", place: word}
    inner = [{"Dense": {"units": "=units", "activation": "relu"}, "name": "d"}, {"Dense": 3, "name": called["layer"]}]
    spec = {
        "name": called["model"],
        "inputs": {called["input"]: {"shape": [4]}, "second": {"shape": [4]}},
        "blocks": {called["block"]: {"params": {"units": 4}, "layers": inner}},
        "layers": [
            {"Add": {}, "from": [called["input"], "second"]},
            {"use": called["block"], "name": called["label"]},
            {"use": called["block"], "with": {"units": 5}},
            {"Dense": 2},
        ],
    }
    try:
        resolved = plan(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False))
    except SpecError:
        assert word in HOSTILE  # such a name is refused before
        return
    tree = ast.parse(check(resolved))
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imported] == ["import keras", "from keras import layers"]


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_names_survive_whatever_they_are(model: str, layer: str) -> None:
    spec = {"name": model, "input": {"shape": [4]}, "layers": [{"Dense": 2, "name": layer}]}
    try:
        resolved = plan(yaml.safe_dump(spec, allow_unicode=True))
    except SpecError:
        return
    check(resolved)


def test_the_code_is_formatted(tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    texts = [RESIDUAL, NESTED, *(path.read_text(encoding="utf-8") for path in SPECS)]
    texts += [
        yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8"))["spec"], sort_keys=False) for path in CASES
    ]
    for number, text in enumerate(texts):
        for order in (None, "N-A-D-W"):
            try:
                source = eject(plan(text, order))
            except SpecError:
                continue
            (tmp_path / f"case{number}_{order is None}.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [ruff, "format", "--isolated", "--line-length", str(WIDTH), "--diff", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_ten_thousand_layers_become_a_short_file() -> None:
    text = NESTED.replace("times: 3\n      layers:\n", "times: 1200\n      layers:\n").replace("=8 * (i + 1)", "8")
    resolved = plan(text)
    assert len(resolved.layers) > 10_000
    source = eject(resolved)
    assert len(source.splitlines()) < 200
