"""The schema for editors: it accepts what kbuild accepts, and refuses what it can see to be wrong."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kbuild import policy
from kbuild.catalog.arguments import checker_of
from kbuild.catalog.layers import layer_names
from kbuild.errors import SpecError
from kbuild.resources import specs_dir
from kbuild.spec.items import BESIDE, STRUCTURES
from kbuild.spec.ordering import ORDERING_KEYS
from kbuild.spec.parse import TOP_KEYS
from kbuild.spec.reader import plain, read_text
from kbuild.spec.schema import schema
from kbuild.spec.train import LATER_KEYS, TRAIN_KEYS

DATA = Path(__file__).parents[1] / "data"


@cache
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema())


def wrong(data: Any) -> list[str]:
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in validator().iter_errors(data)]


def read(path: Path) -> Any:
    return plain(read_text(path.read_text("utf-8"), path.name))


def good() -> list:
    """Specs that compile: shipped ones, and those of the other tests."""
    files = [*specs_dir().rglob("*.yaml"), *(DATA / "lint").rglob("*.yaml"), *(DATA / "compile").glob("*.yaml")]
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in sorted(files)]


#: Codes of mistakes in one value or one key, which a schema can see; others need names, shapes or arithmetic.
VISIBLE = {
    "unknown-key",
    "missing-key",
    "unknown-layer",
    "forbidden-layer",
    "unknown-argument",
    "unknown-name",
    "unknown-policy",
    "bad-order",
    "wrong-type",
    "bad-name",
    "version",
    "not-yet",
}
#: Broken specs with such a mistake that the schema passes all the same, and why.
BEYOND = {
    "228-include-more-than-blocks": "in an included file",
    "232-include-without-blocks": "in an included file",
    "318-two-layers-in-an-entry": "any two of 140 keys",
    "322-unit-keys-beside-other-layers": "a key beside some layers",
    "607-fraction-where-integer": "3.0 is an integer to JSON Schema",
    "611-quoted": "quotes are gone when a schema looks",
    "612-var-of-wrong-type": "behind arithmetic",
    "804-repeat-wrong-in-one-round": "behind arithmetic",
    "821-argument-error-in-a-block": "behind arithmetic",
}


def broken() -> list:
    found = []
    for path in sorted((DATA / "errors").glob("*.yaml")):
        codes = set(re.findall(r"error\[([\w-]+)\]", path.with_suffix(".txt").read_text("utf-8")))
        try:
            yaml.safe_load(path.read_bytes())
            data = read(path)
        except (SpecError, yaml.YAMLError, ValueError, RecursionError):
            continue  # no YAML, so no editor gets as far as the schema
        if codes & VISIBLE:
            found.append(pytest.param(data, path.stem, id=path.stem))
    return found


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema())))
    assert references <= set(schema()["$defs"])


@pytest.mark.parametrize("path", good())
def test_what_compiles_is_accepted(path: Path) -> None:
    data = read(path)
    assert wrong(data.get("spec", data)) == []


@pytest.mark.parametrize(("data", "name"), broken())
def test_what_is_visibly_wrong_is_refused(data: Any, name: str) -> None:
    assert bool(wrong(data)) == (name not in BEYOND)


def test_the_exceptions_are_there() -> None:
    assert {param.id for param in broken()} >= set(BEYOND)


def test_every_key_is_in_it() -> None:
    made = schema()
    defs = made["$defs"]
    assert set(made["properties"]) == set(TOP_KEYS)
    assert set(defs["train"]["properties"]) == set(TRAIN_KEYS) - set(LATER_KEYS)
    ordering = next(choice for choice in defs["ordering"]["anyOf"] if "properties" in choice)
    assert set(ordering["properties"]) == {"policy", "order", *ORDERING_KEYS}
    entry = defs["item"]["anyOf"][1]["properties"]
    assert set(entry) >= {*BESIDE, *STRUCTURES, *layer_names()}


def test_every_key_and_layer_has_a_description() -> None:
    made = schema()
    for section in (made, made["$defs"]["train"], made["$defs"]["input"]):
        for key, value in section["properties"].items():
            said = value.get("description") or made["$defs"][value["$ref"].rpartition("/")[2]].get("description")
            assert said, key
    for name in layer_names():
        assert len(made["$defs"][f"layer.{name}"]["description"]) > 20, name


def test_arguments_carry_types_defaults_and_keras_own_words() -> None:
    conv = schema()["$defs"]["layer.Conv2D"]["anyOf"][0]
    assert conv["required"] == ["filters", "kernel_size"]
    padding = conv["properties"]["padding"]
    assert padding["default"] == "valid"
    assert {"enum": ["valid", "same"]} in padding["anyOf"]
    assert "valid" in padding["description"]


def test_policies_are_offered_with_what_they_do() -> None:
    offered = {one["const"]: one["description"] for one in schema()["$defs"]["ordering"]["anyOf"] if "const" in one}
    assert list(offered) == [one.name for one in policy.POLICIES]
    assert "N-A-W" in offered["preact"]


@pytest.mark.parametrize("order", [str(one) for one in policy.all_orders()] + ["WNAD", "W-N-A-P-D"])
def test_orders_are_accepted(order: str) -> None:
    assert wrong({**SMALL, "ordering": order}) == []


@pytest.mark.parametrize("order", ["N-A", "W-W", "W-N-N", "W-X", "w-n-a", "", "W-"])
def test_what_is_no_order_is_refused(order: str) -> None:
    assert wrong({**SMALL, "ordering": order})


SMALL: dict[str, Any] = {"input": {"shape": [4]}, "layers": [{"Dense": 3}]}

#: Where, and what: accepted.
ACCEPTED: list[tuple[tuple, Any]] = [
    (("layers", 0), "Flatten"),
    (("layers", 0), {"Dense": [3, "relu"]}),
    (("layers", 0), {"Dense": {"units": "=2*n", "activation": {"LeakyReLU": 0.1}}}),
    (("layers", 0), {"Conv2D": {"filters": 3, "kernel_size": [3, "=k"]}}),
    (
        ("layers", 0),
        {"Dense": {"units": 3, "kernel_regularizer": {"L2": 0.1}}, "dropout": {"rate": "=r", "kind": "auto"}},
    ),
    (("layers", 0), {"Bidirectional": {"layer": {"LSTM": 3}}}),
    (("layers", 0), {"ops.add": 3.0}),
    (("layers", 0), {"Convolution2D": {"filters": 3, "kernel_size": 3}}),
    (("train",), {"data": "digits", "loss": {"a": "mse", "b": "mae"}, "optimizer": "adam", "metrics": "accuracy"}),
    (("train",), {"data": {"npz": "a.npz", "x": "xs"}, "loss": "mse", "optimizer": {"SGD": {"learning_rate": "=r"}}}),
    (
        ("train",),
        {"data": "digits", "loss": "mse", "optimizer": {"Adam": {"learning_rate": {"CosineDecay": [0.1, 9]}}}},
    ),
]
#: Where, and what: refused.
REFUSED: list[tuple[tuple, Any]] = [
    (("layers", 0), {"Dense": {"unit": 3}}),
    (("layers", 0), {"Dense": {"units": 0}}),
    (("layers", 0), {"Dense": 3, "activation": "relu"}),
    (("layers", 0), {"Conv2D": {"filters": 3}}),
    (("layers", 0), {"Conv2D": {"filters": 3, "kernel_size": 3, "padding": "causal"}}),
    (("layers", 0), {"Dense": {"units": 3, "activation": "rellu"}}),
    (("layers", 0), {"Dense": 3, "norm": "Dense"}),
    (("layers", 0), {"Lambda": "x"}),
    (("layers", 0), {"residual": {"layers": [], "shortcut": "project"}}),
    (("train",), {"data": "digits", "loss": "mse", "epoch": 3}),
    (("train",), {"data": {"npz": "a.npz", "z": "xs"}, "loss": "mse"}),
    (("train",), {"data": "digits", "loss": "mean_square"}),
]


def put(where: tuple, what: Any) -> Any:
    data = copy.deepcopy(SMALL)
    at = data
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = what
    return data


@pytest.mark.parametrize(("where", "what"), ACCEPTED)
def test_accepted(where: tuple, what: Any) -> None:
    assert wrong(put(where, what)) == []


@pytest.mark.parametrize(("where", "what"), REFUSED)
def test_refused(where: tuple, what: Any) -> None:
    assert wrong(put(where, what))


def test_a_checkers_schema_accepts_what_the_checker_does() -> None:
    samples = [
        None,
        True,
        False,
        0,
        1,
        3,
        -1,
        0.5,
        1.5,
        "same",
        "valid",
        "int",
        [1],
        [1, 2],
        [1, 2, 3],
        [0.5, 1.0],
        [[1, 2]],
    ]
    for name in layer_names():
        for argument in validator().schema["$defs"][f"layer.{name}"]["anyOf"][0]["properties"]:
            checker = checker_of(name, argument)
            for value in samples if checker is not None else ():
                if checker is not None and checker.accepts(value):
                    jsonschema.validate(value, checker.schema)
