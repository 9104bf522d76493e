# ruff: noqa: E501 - texts before and after a fix, whole
"""`--fix`: what is mended, what is left alone, and that what keeps the function does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.errors import InputError
from kbuild.lint.check import lint
from kbuild.lint.finding import Fix
from kbuild.lint.fix import apply
from kbuild.lint.mend import mended, unified, write
from kbuild.lint.rules import BY_ID, RULES
from kbuild.lint.subject import read_subject
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec

CASES = Path(__file__).parent.parent / "data" / "lint"


def mend(text: str, folder: Path) -> str:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    new = mended(read_subject(path), RULES)
    assert new is not None
    return new


def fixable(text: str) -> list[str]:
    spec = parse_spec(text)
    return [one.rule for one in lint(plan_spec(spec), spec.train, spec.source) if one.fix is not None]


#: Text before, and after; nothing else may differ.
MENDED = {
    "flow, in the middle": (
        "input: {shape: [4]}\nordering: W-N-A\nlayers: [{Dense: {units: 3,  use_bias: true, activation: relu}}, Dense: 2]\n",
        "input: {shape: [4]}\nordering: W-N-A\nlayers: [{Dense: {units: 3,  activation: relu}}, Dense: 2]\n",
    ),
    "flow, last": (
        'input: {shape: [4]}\nordering: "W-N-A"\nlayers:\n- Dense: { units: 3, use_bias: true } # é \U0001f600\n- Dense: 2',
        'input: {shape: [4]}\nordering: "W-N-A"\nlayers:\n- Dense: { units: 3 } # é \U0001f600\n- Dense: 2',
    ),
    "flow, behind wide characters": (
        "# 層\ninput: {shape: [4]}\nvars: {n: 層é}\nordering: W-N-A\nlayers: [Dense: {units: 3, use_bias: true}, Dense: 2]\n",
        "# 層\ninput: {shape: [4]}\nvars: {n: 層é}\nordering: W-N-A\nlayers: [Dense: {units: 3}, Dense: 2]\n",
    ),
    "block, with comments around": (
        "input: {shape: [4]}\nordering: W-N-A\nlayers:\n  - Dense:\n      units:   3\n      # kept\n      use_bias: true  # goes\n"
        "      # kept too\n      activation: relu\n\n  - Dense: 2\n",
        "input: {shape: [4]}\nordering: W-N-A\nlayers:\n  - Dense:\n      units:   3\n      # kept\n"
        "      # kept too\n      activation: relu\n\n  - Dense: 2\n",
    ),
    "windows lines": (
        "input: {shape: [4]}\r\nordering: W-N-A\r\nlayers:\r\n  - Dense:\r\n      units: 3\r\n      use_bias: true\r\n  - Dense: 2\r\n",
        "input: {shape: [4]}\r\nordering: W-N-A\r\nlayers:\r\n  - Dense:\r\n      units: 3\r\n  - Dense: 2\r\n",
    ),
    "a second relu": (
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - ReLU # again\n  # the head\n"
        "  - Dense: 2\n",
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  # the head\n  - Dense: 2\n",
    ),
    "a second relu in a flow list": (
        "input: {shape: [4]}\nordering: plain\nlayers: [{Dense: {units: 3, activation: relu}}, ReLU, {Dense: 2}]\n",
        "input: {shape: [4]}\nordering: plain\nlayers: [{Dense: {units: 3, activation: relu}}, {Dense: 2}]\n",
    ),
    "dropout behind the head, last of the list": (
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - Dense: 2\n"
        "  - Dropout:\n      rate: 0.5\n# the end\n",
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - Dense: 2\n# the end\n",
    ),
    "alpha dropout": (
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - {AlphaDropout: 0.1}\n"
        "  - Dense: 2\n",
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - {Dropout: 0.1}\n"
        "  - Dense: 2\n",
    ),
    "from_logits": (
        "input: {shape: [64]}\nordering: plain\nlayers: [Dense: {units: 10, activation: softmax}]\ntrain:\n  data: digits\n"
        "  loss: {SparseCategoricalCrossentropy: {from_logits: true}}\n",
        "input: {shape: [64]}\nordering: plain\nlayers: [Dense: {units: 10, activation: softmax}]\ntrain:\n  data: digits\n"
        "  loss: {SparseCategoricalCrossentropy: {}}\n",
    ),
}

#: Texts with a mistake that no fix may touch, and why.
LEFT = {
    "arguments shared by an alias": (
        "input: {shape: [4]}\nordering: W-N-A\nlayers:\n  - Dense: &d {units: 3, use_bias: true}\n    norm: false\n  - Dense: *d\n"
        "  - Dense: 2\n"
    ),
    "positional arguments": "input: {shape: [4]}\nordering: W-N-A\nlayers: [{Dense: [3, relu, true]}, {Dense: 2}]\n",
    "one use of the block needs the bias": (
        "input: {shape: [4]}\nordering: W-N-A\nblocks:\n  b:\n    params: {n: true}\n    layers:\n"
        "      - Dense: {units: 3, use_bias: true}\n        norm: =n\n"
        "layers: [{use: b}, {use: b, with: {n: false}}, {Dense: 2}]\n"
    ),
    "a layer that others name": (
        "input: {shape: [4]}\nordering: plain\nlayers:\n  - Dense: {units: 3, activation: relu}\n  - {ReLU: , name: second}\n"
        "  - {Dense: 2, from: second}\n"
    ),
    "another activation": "input: {shape: [4]}\nordering: plain\nlayers: [Dense: {units: 3, activation: relu}, ELU, Dense: 2]\n",
}


@pytest.mark.parametrize("name", MENDED)
def test_only_the_bytes_that_must_change(name: str, tmp_path: Path) -> None:
    before, after = MENDED[name]
    assert fixable(before)
    assert mend(before, tmp_path) == after
    assert fixable(after) == []


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(name: str, tmp_path: Path) -> None:
    spec = parse_spec(LEFT[name])
    assert [one for one in lint(plan_spec(spec), spec.train, spec.source) if one.level != "info"]
    assert fixable(LEFT[name]) == []
    assert mend(LEFT[name], tmp_path) == LEFT[name]


@pytest.mark.parametrize("path", sorted(CASES.glob("*/bad-*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fix_then_lint_is_clean(path: Path, tmp_path: Path) -> None:
    text = path.read_text("utf-8")
    fixed = set(fixable(text))
    after = mend(text, tmp_path)
    assert (after != text) == bool(fixed)
    assert fixable(after) == []
    spec = parse_spec(after)
    left = {one.rule for one in lint(plan_spec(spec), spec.train, spec.source)}
    assert not fixed & left
    assert mend(after, tmp_path) == after


def without(plan: Plan, gone: str | None = None, **config: object) -> list:
    """A plan's layers as the fix should leave them: without one layer, with other arguments."""
    (source,) = plan.layer(gone).inputs if gone else (None,)
    return [
        (one.name, one.cls, {**one.config, **config} if one.role == "W" and one.name != plan.units[-1].name else one.config,
         tuple(source if name == gone else name for name in one.inputs))
        for one in plan.layers
        if one.name != gone
    ]  # fmt: skip


def test_the_fixed_spec_compiles_to_the_intended_graph() -> None:
    for name, gone, config in (
        ("block, with comments around", None, {"use_bias": False}),
        ("a second relu", "relu1", {}),
        ("dropout behind the head, last of the list", "drop1", {}),
    ):
        before, after = (plan_spec(parse_spec(text)) for text in MENDED[name])
        assert [(one.name, one.cls, one.config, one.inputs) for one in after.layers] == without(before, gone, **config)


def test_an_edit_that_means_something_else_is_not_made() -> None:
    text = "a: {b: {use_bias: true}}\n"
    assert apply(text, [Fix("remove-argument", 1, 5, "use_bias", "", "function")]) == "a: {b: {}}\n"
    assert apply(text, [Fix("remove-argument", 9, 9, "use_bias", "", "function")]) == text
    assert apply(text, [Fix("remove-entry", 1, 5, "", "", "function")]) == text


def test_diff_and_write(tmp_path: Path) -> None:
    before, after = MENDED["a second relu"]
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + before.encode())
    path.chmod(0o640)
    subject = read_subject(path)
    new = mended(subject, RULES)
    lines = unified(subject, new).splitlines()
    assert lines[:2] == [f"--- a/{path}", f"+++ b/{path}"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  - ReLU # again"]
    assert write(subject, new)
    assert path.read_bytes() == b"\xef\xbb\xbf" + after.encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
    assert not write(read_subject(path), after)


def test_an_overridden_spec_is_not_mended(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(MENDED["a second relu"][0])
    with pytest.raises(InputError, match="leave --ordering and --set out"):
        mended(read_subject(path, "W-N-A"), RULES)


# -- properties ---------------------------------------------------------------------------------------------------


@st.composite
def specs(draw: st.DrawFn) -> str:
    """Specs with biases before normalizations and doubled activations, written in several ways."""
    lines = [
        "# begin",
        "input: {shape: [4]}",
        f"ordering: {draw(st.sampled_from(['W-N-A', 'W-A-N', 'W-A', 'N-A-W']))} # o",
    ]
    lines.append("layers:")
    for number in range(draw(st.integers(1, 4))):
        activation = draw(st.sampled_from(["relu", "tanh", "elu"]))
        bias = draw(st.sampled_from([True, False, None]))
        entries = [f"units: {number + 2}", f"activation: {activation}"]
        if bias is not None:
            entries.insert(draw(st.integers(0, 2)), f"use_bias: {str(bias).lower()}")
        if draw(st.booleans()):
            lines.append(f"  - Dense: {{{', '.join(entries)}}} # {number}")
        else:
            lines += ["  - Dense:", *(f"      {entry} # {number}" for entry in entries)]
        lines += ["  - ReLU"] * draw(st.integers(0, 2))
        lines += ["  # between"] * draw(st.integers(0, 1))
    return "\n".join([*lines, "  - Dense: 2", ""])


@settings(max_examples=60, deadline=None)
@given(specs())
def test_any_spec_is_clean_after_the_fix(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    after = mend(text, tmp_path_factory.mktemp("fix"))
    assert fixable(after) == []
    kept = iter(text.splitlines())
    for line in after.splitlines():
        assert any(_from(line, old) for old in kept), line
    if not fixable(text):
        assert after == text


def _from(new: str, old: str) -> bool:
    """Whether a line is an old one, at most without an argument."""
    return new in (old, old.replace("use_bias: true, ", ""), old.replace(", use_bias: true", ""))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(specs())
def test_a_fix_that_keeps_the_function_keeps_it(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """In training for any bias; at inference with the bias taken out of the moving mean, where training puts it."""
    import numpy as np

    from kbuild.model.lower import build_model

    spec = parse_spec(text)
    keeps = {one.fix.keeps for one in lint(plan_spec(spec), text=spec.source) if one.fix is not None}
    assert keeps <= {"function"}
    after = mend(text, tmp_path_factory.mktemp("fix"))
    old, new = (build_model(plan_spec(parse_spec(one)), seed=1) for one in (text, after))
    for layer in _randomized(old):
        if layer.name not in {one.name for one in new.layers}:
            continue
        weights = {variable.path.rpartition("/")[2]: np.asarray(variable) for variable in layer.variables}
        for variable in new.get_layer(layer.name).variables:
            variable.assign(weights[variable.path.rpartition("/")[2]])
    for norm in (one for one in plan_spec(parse_spec(after)).layers if one.cls == "BatchNormalization"):
        (source,) = norm.inputs
        before, now = old.get_layer(source), new.get_layer(source)
        if getattr(before, "use_bias", False) and not now.use_bias:
            layer = new.get_layer(norm.name)
            layer.moving_mean.assign(layer.moving_mean - before.bias)
    x = np.random.default_rng(1).standard_normal((16, 4)).astype("float32")
    assert np.allclose(old(x, training=False), new(x, training=False), atol=1e-4)
    assert np.allclose(old(x, training=True), new(x, training=True), atol=1e-4)


def _randomized(model) -> Iterator:
    import numpy as np

    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.variables:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        yield layer


def test_what_a_fix_claims_is_said(tmp_path: Path) -> None:
    for name, keeps in (("a second relu", "function"), ("alpha dropout", "predictions"), ("flow, last", "function")):
        spec = parse_spec(MENDED[name][0])
        found = [one for one in lint(plan_spec(spec), text=spec.source) if one.fix is not None]
        assert [one.fix.keeps for one in found] == [keeps]
        assert all(BY_ID[one.rule].fix for one in found)
