"""Names of classes: read from the spec, matched with the data, kept in the run, shown by predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, Problem, SpecError
from kbuild.plan.losses import resolve_losses
from kbuild.spec.data import read_data
from kbuild.spec.reader import read_text
from kbuild.train.classes import match_classes, read_run_classes, to_json

SPEC = """\
input: {shape: [4]}
layers:
  - {Dense: 3, name: pet}
  - {Dense: 1, name: old, from: input}
  - {Dense: 2, name: size, from: input}
outputs: [pet, old, size]
train:
  data: {npz: data.npz, y: {pet: a, old: b, size: c}}
  loss: {pet: sparse_categorical_crossentropy, old: binary_crossentropy, size: mse}
"""


def read(text: str, name: str = "data") -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    return read_data(name, read_text(text, "s.yaml"), problems), problems


@pytest.mark.parametrize("kind", ["npz: a.npz", "keras: mnist", "digits: "])
def test_every_kind_of_data_takes_names(kind: str) -> None:
    data, problems = read(f"{{{kind}, classes: [cat, no, 3]}}")
    assert not problems
    assert data.classes == {"": ("cat", "no", "3")}
    data, problems = read(f"{{{kind}, classes: {{pet: [cat, dog], old: [no, yes]}}}}")
    assert not problems
    assert data.classes == {"pet": ("cat", "dog"), "old": ("no", "yes")}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("3", "`classes` must be a list of names, or a mapping from outputs to lists, not the number 3"),
        ("{}", "`classes` must be a list of names"),
        ("{pet: cat}", "`classes.pet` must be a list of names, not the string 'cat'"),
        ("[cat]", "`classes` needs two names or more"),
        ("[cat, cat]", "two classes have the name 'cat'"),
        ("[1, '1']", "two classes have the name '1'"),
        ("[cat, true]", "the name of a class must be text, not true"),
        ("[cat, 1.5]", "the name of a class must be text, not the number 1.5"),
        ("[cat, [dog]]", "the name of a class must be text, not a list"),
        ('[cat, ""]', "the name of a class has 1 to 200 characters on one line"),
        ('[cat, "a\\nb"]', "the name of a class has 1 to 200 characters on one line"),
    ],
)
def test_what_is_no_name(classes: str, message: str) -> None:
    data, problems = read(f"{{npz: a.npz, classes: {classes}}}")
    assert data is None
    assert [problem.code for problem in problems] == ["wrong-type"]
    assert message in problems[0].message
    assert problems[0].span is not None


def test_validation_data_name_no_classes() -> None:
    _, problems = read("{npz: a.npz, classes: [a, b]}", "validation")
    assert [problem.code for problem in problems] == ["unknown-key"]


@pytest.fixture
def match(compiled: Callable[..., Any]) -> Callable[..., Any]:
    def made(given: str, found: dict[str, tuple[str, ...]], text: str = SPEC) -> Any:
        text = text.replace("data.npz", f"data.npz, classes: {given}") if given else text
        spec, plan = compiled(text)
        return match_classes(spec.train.data, found, plan, resolve_losses(spec.train, plan))

    return made


PETS = ("cat", "dog", "eel")


def test_from_the_spec_and_from_the_data(match: Callable[..., Any]) -> None:
    assert match("", {}) == ({}, [])
    assert match("", {"old": ("no", "yes"), "pet": PETS}) == ({"pet": PETS, "old": ("no", "yes")}, [])
    assert match("{pet: [cat, dog, eel]}", {"old": ("no", "yes")})[0] == {"pet": PETS, "old": ("no", "yes")}
    assert match("{pet: [Cat, Dog, Eel]}", {"pet": PETS})[0] == {"pet": ("Cat", "Dog", "Eel")}
    assert match("", {"pet": ("cat", "dog")}) == (
        {},
        ["names of classes are left out: 2 classes are named, but 'pet' has 3"],
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{pet: [cat, dog]}", "2 classes are named, but 'pet' has 3"),
        ("{old: [a, b, c]}", "3 classes are named, but 'old' has 2"),
        ("{size: [small, big]}", "'size' is trained with MeanSquaredError on 2 units, which are no classes"),
        ("{kind: [a, b]}", "the model has no output 'kind'"),
        ("[a, b]", "the model has the outputs pet, old, size"),
        ("{pet: [dog, cat, eel]}", "`classes` calls class 1 'cat', in the data it has the number 0"),
    ],
)
def test_names_that_do_not_fit(match: Callable[..., Any], given: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        match(given, {"pet": PETS})
    (problem,) = caught.value.problems
    assert problem.message == message
    assert problem.span is not None and problem.span.line == 8


def test_an_output_by_the_name_of_its_head(match: Callable[..., Any]) -> None:
    text = """\
input: {shape: [4]}
layers: [{Dense: {units: 2, activation: softmax}, name: pet}]
train: {data: {npz: data.npz}, loss: sparse_categorical_crossentropy}
"""
    assert match("{pet: [cat, dog]}", {}, text)[0] == {"pet_softmax": ("cat", "dog")}
    assert match("[cat, dog]", {}, text)[0] == {"pet_softmax": ("cat", "dog")}


def test_the_file(tmp_path: Path) -> None:
    assert read_run_classes(tmp_path) == {}
    (tmp_path / "classes.json").write_text(to_json({"pet": ("Käfer", "dog")}), encoding="utf-8")
    assert read_run_classes(tmp_path) == {"pet": ("Käfer", "dog")}
    for damaged in ("{", "[1]", '{"pet": "cat"}', '{"pet": [1]}'):
        (tmp_path / "classes.json").write_text(damaged)
        with pytest.raises(InputError, match=r"classes\.json"):
            read_run_classes(tmp_path)


def test_a_run_keeps_them(compiled: Callable[..., Any], tmp_path: Path) -> None:
    from kbuild.train.data.load import load_data

    np.savez(tmp_path / "data.npz", x_train=np.zeros((8, 4)), y_train=np.arange(8) % 2)
    text = """\
input: {shape: [4]}
layers: [{Dense: 2, name: pet}]
train: {data: {npz: data.npz, classes: [cat, dog]}, loss: sparse_categorical_crossentropy}
"""
    spec, plan = compiled(text)
    data = load_data(spec.train, plan, resolve_losses(spec.train, plan), spec.folder, 0)
    assert data.classes == {"pet": ("cat", "dog")}
