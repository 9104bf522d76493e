"""`--set` and `--ordering`: what they change, and errors that point at the option."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from kbuild.errors import Problem, SpecError
from kbuild.plan.pipeline import compile_spec, plan_spec
from kbuild.spec.load import parse_spec
from kbuild.spec.overrides import apply_overrides
from kbuild.spec.reader import plain, read_text

SPEC = """\
vars: {width: 8}
input: {shape: [8, 8, 1]}
ordering: W-N-A-D
blocks:
  wide: {params: {units: 16}, layers: [{Dense: =units}]}
layers:
  - Conv2D: {filters: =width, kernel_size: 3, activation: relu}
  - Flatten
  - use: wide
  - Dense: {units: 10}
    dropout: 0.2
train:
  data: digits
  loss: mse
  optimizer: {Adam: {learning_rate: 0.1}}
  metrics: [accuracy, mae]
"""


def changed(*settings: str, ordering: str | None = None, text: str = SPEC) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    return plain(apply_overrides(read_text(text, "spec.yaml"), ordering, settings, problems)), problems


def at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("vars.width", "64", 64),
        ("vars.width", "=2*8", "=2*8"),
        ("vars.depth", "3", 3),
        ("name", "other", "other"),
        ("name", "'1'", "1"),
        ("name", "", None),
        ("input.shape", "[16, 16, 3]", [16, 16, 3]),
        ("input.shape.0", "null", None),
        ("input.dtype", "float16", "float16"),
        ("ordering", "preact", "preact"),
        ("ordering.dropout", "0.5", 0.5),
        ("ordering.dropout.rate", "0.5", 0.5),
        ("ordering.where.dropout", "last", "last"),
        ("ordering.norm", "{GroupNormalization: {groups: 4}}", {"GroupNormalization": {"groups": 4}}),
        ("blocks.wide.params.units", "32", 32),
        ("blocks.wide.layers.0.Dense", "7", 7),
        ("layers.0.Conv2D.filters", "4", 4),
        ("layers.0.Conv2D.padding", "same", "same"),
        ("layers.0.name", "first", "first"),
        ("layers.3.dropout", "0", 0),
        ("layers.3.dropout.kind", "gaussian", "gaussian"),
        ("layers.1", "GlobalAveragePooling2D", "GlobalAveragePooling2D"),
        ("train.epochs", "3", 3),
        ("train.optimizer", "SGD", "SGD"),
        ("train.optimizer.Adam.learning_rate", "1e-3", 0.001),
        ("train.metrics.1", "mse", "mse"),
        ("train.data", "{npz: a=b.npz}", {"npz": "a=b.npz"}),
        ("train.augment", "[{RandomFlip: horizontal}]", [{"RandomFlip": "horizontal"}]),
        ("outputs", "[a, b]", ["a", "b"]),
    ],
)
def test_a_value_is_set(path: str, value: str, expected: object) -> None:
    tree, problems = changed(f"{path}={value}")
    assert at(tree, path) == expected
    assert not problems


def test_everything_else_stays_as_it_was() -> None:
    before, _ = changed()
    after, _ = changed("vars.width=64")
    assert before.pop("vars") == {"width": 8}
    assert after.pop("vars") == {"width": 64}
    assert before == after
    assert list(before) == list(after)


def test_short_forms_grow_where_something_below_them_is_set() -> None:
    assert changed("ordering.dropout.rate=0.5")[0]["ordering"] == {"order": "W-N-A-D", "dropout": {"rate": 0.5}}
    text = SPEC.replace("W-N-A-D", "preact")
    assert changed("ordering.first=keep", text=text)[0]["ordering"] == {"policy": "preact", "first": "keep"}
    assert changed("layers.3.dropout.kind=alpha")[0]["layers"][3]["dropout"] == {"rate": 0.2, "kind": "alpha"}


def test_sections_that_are_not_there_are_made() -> None:
    tree, problems = changed("vars.a=1", "train.epochs=3", text="input:\nlayers: []")
    assert tree == {"input": None, "layers": [], "vars": {"a": 1}, "train": {"epochs": 3}}
    assert changed("input.shape=[3]", text="input:")[0] == {"input": {"shape": [3]}}
    assert not problems


def test_later_settings_win_and_build_on_earlier_ones() -> None:
    tree, _ = changed("train.optimizer={SGD: {}}", "train.optimizer.SGD.momentum=0.9", "vars.width=1", "vars.width=2")
    assert tree["train"]["optimizer"] == {"SGD": {"momentum": 0.9}}
    assert tree["vars"]["width"] == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("width", "--set takes KEY.KEY=VALUE, for example --set train.epochs=3"),
        ("=3", "--set takes KEY.KEY=VALUE, for example --set train.epochs=3"),
        ("", "--set takes KEY.KEY=VALUE, for example --set train.epochs=3"),
        ("layers.9.Dense=3", "`layers` is a list of 4; '9' is no index of it (they count from 0)"),
        ("layers.-1=Flatten", "`layers` is a list of 4; '-1' is no index of it (they count from 0)"),
        ("layers.first.Dense=3", "`layers` is a list of 4; 'first' is no index of it (they count from 0)"),
        ("vars.width.units=3", "`vars.width` is the number 8; there is no 'units' in it"),
        ("train.loss.x.y=3", "`train.loss` is the string 'mse'; there is no 'x' in it"),
    ],
)
def test_what_cannot_be_set(setting: str, message: str) -> None:
    tree, problems = changed(setting)
    assert [(p.code, p.message) for p in problems] == [("override", message)]
    assert tree == plain(read_text(SPEC, "spec.yaml"))
    assert problems[0].span is not None
    assert problems[0].span.source.name.startswith("--set")


def test_a_path_of_endless_steps_is_refused() -> None:
    _, problems = changed(".".join(["a"] * 5000) + "=1")
    assert [p.code for p in problems] == ["limit"]
    assert "the limit depth (64)" in problems[0].message


def report(*settings: str, ordering: str | None = None) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(SPEC, encoding="utf-8")
        with pytest.raises(SpecError) as caught:
            compile_spec(path, ordering, settings)
    return str(caught.value)


def test_yaml_in_a_value_is_reported_in_the_option() -> None:
    assert report("vars.width=[1, 2") == (
        "--set vars.width=[1, 2:1:12: error[yaml]: [ is never closed\n"
        "  1 | vars.width=[1, 2\n"
        "    |            ^"
    )  # fmt: skip


def test_a_wrong_value_is_reported_in_the_option() -> None:
    assert report("layers.3.Dense.units=many", "train.epochs=0") == (
        "--set layers.3.Dense.units=many:1:22: error[wrong-type]: 'units' of Dense must be a positive integer, "
        "not the string 'many'\n"
        "  1 | layers.3.Dense.units=many\n"
        "    |                      ^^^^\n"
        "--set train.epochs=0:1:14: error[wrong-type]: `epochs` must be a whole number from 1 to 1000000, "
        "not the number 0\n"
        "  1 | train.epochs=0\n"
        "    |              ^"
    )


def test_a_misspelled_key_is_reported_in_the_option() -> None:
    assert report("train.epoch=3") == (
        "--set train.epoch=3:1:1: error[unknown-key]: `train` has no setting 'epoch'\n"
        "  1 | train.epoch=3\n"
        "    | ^^^^^^^^^^^ did you mean 'epochs'?"
    )


@pytest.mark.parametrize(
    ("ordering", "message"),
    [
        ("W-N-N", "--ordering:1:1: error[bad-order]: the letter N stands twice in 'W-N-N'"),
        ("preakt", "--ordering:1:1: error[unknown-policy]: there is no policy 'preakt'"),
        ("", "--ordering:1:1: error[bad-order]: neither a policy's name nor an order: the text is empty"),
        ("[W]", "--ordering:1:1: error[wrong-type]: `ordering` takes a policy's name, an order such as W-N-A-D, or a"),
        ("{policy: ic", "--ordering:1:1: error[yaml]: { is never closed"),
    ],
)
def test_a_bad_ordering_is_reported_in_the_option(ordering: str, message: str) -> None:
    assert report(ordering=ordering).startswith(message)


def test_an_ordering_replaces_the_order_and_nothing_else() -> None:
    text = SPEC.replace("ordering: W-N-A-D", "ordering: {policy: ic, dropout: 0.3, where: {dropout: dense}}")
    assert changed(ordering="W-A-D", text=text)[0]["ordering"] == {
        "order": "W-A-D",
        "dropout": 0.3,
        "where": {"dropout": "dense"},
    }
    assert changed(ordering="preact", text=text)[0]["ordering"]["policy"] == "preact"
    assert changed(ordering="{policy: preact}", text=text)[0]["ordering"] == {"policy": "preact"}
    assert changed(ordering="preact")[0]["ordering"] == "preact"
    assert changed(ordering="preact", text="layers: []")[0] == {"layers": [], "ordering": "preact"}


def test_an_ordering_comes_before_the_settings() -> None:
    tree, _ = changed("ordering.dropout.rate=0.5", ordering="W-A-D")
    assert tree["ordering"] == {"order": "W-A-D", "dropout": {"rate": 0.5}}


def test_the_plan_says_which_option_decided() -> None:
    plan = plan_spec(parse_spec(SPEC, "W-A-D", ["layers.0.dropout=0.4"]))
    dropout = next(layer for layer in plan.layers if layer.name == "conv1_drop")
    assert "--ordering" in dropout.because
    assert "--set layers.0.dropout=0.4" in dropout.because
    assert dropout.config["rate"] == 0.4


def test_a_spec_that_is_no_mapping_is_reported_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec("[1]", None, ["a.b=1"])
    assert [p.code for p in caught.value.problems] == ["wrong-type"]


def test_a_slip_in_the_name_of_a_var_is_no_new_var() -> None:
    _, problems = changed("vars.widht=64")
    assert [(problem.code, problem.hint) for problem in problems] == [("override", "did you mean 'vars.width'?")]
