"""The models of keras.applications, imported and built again: Keras itself then writes the identical config."""

from __future__ import annotations

import gc
import inspect
import json
from pathlib import Path

import pytest

from kbuild.errors import InputError
from kbuild.importing.network import network_of
from kbuild.importing.writing import import_network
from kbuild.lint.check import lint
from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model

keras = import_keras()

#: Model → the classes of its own that it is refused for.
REFUSED = {
    **dict.fromkeys(("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"), "LayerScale"),
    "InceptionResNetV2": "CustomScaleLayer",
}
#: The order that is found, where it is not W-N-A.
ORDERS = {"VGG": "W-A", "DenseNet": "N-A-W", "V2": "N-A-W"}
#: One of each family, in a few seconds; the others are slow.
FAST = ("MobileNetV2", "MobileNetV3Small", "ResNet50", "ResNet50V2", "DenseNet121", "EfficientNetB0")
#: A spec as short as a person would like it: the most lines it may have.
LINES = {
    "VGG16": 30,
    "ResNet50": 70,
    "ResNet152": 105,
    "DenseNet201": 95,
    "MobileNetV2": 75,
    "EfficientNetB7": 260,
    "EfficientNetV2L": 220,
}

#: Model → the lint's warnings on it, each of which docs/lint.md defends by name.
WARNINGS = {name: {"bias-before-norm"} for name in ("ResNet50", "ResNet101", "ResNet152")}

NAMES = sorted(name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name)))


def marked(names):
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def _clean():
    yield
    keras.backend.clear_session()
    gc.collect()


def config_of(name):
    model = getattr(keras.applications, name)(weights=None)
    return json.loads(model.to_json()), model.count_params()


def order_of(name):
    if name.startswith("ResNet") and name.endswith("V2"):
        return ORDERS["V2"]
    return next((order for start, order in ORDERS.items() if name.startswith(start)), "W-N-A")


def test_all_forty_are_covered():
    assert len(NAMES) == 40
    assert set(REFUSED) < set(NAMES)


@pytest.mark.parametrize("name", marked(name for name in NAMES if name not in REFUSED))
def test_an_import_is_the_identical_graph(name):
    original, parameters = config_of(name)
    keras.backend.clear_session()
    imported = import_network(network_of(original, f"{name}.json"))
    assert str(imported.found.order) == order_of(name)
    assert imported.by_hand == ()
    assert imported.plan.total_params == parameters
    assert imported.spec.count("\n") <= LINES.get(name, 1600)
    assert {finding.rule for finding in lint(imported.plan) if finding.level != "info"} == WARNINGS.get(name, set())
    # Names, classes, arguments, connections with their order, the order of the layers: everything Keras writes.
    assert json.loads(build_model(imported.plan).to_json())["config"] == original["config"]


def test_every_warning_of_the_lint_is_defended():
    docs = (Path(__file__).parents[2] / "docs" / "lint.md").read_text("utf-8")
    assert all(f"**{name}**" in docs for name in WARNINGS)
    assert set().union(*WARNINGS.values()) == {"bias-before-norm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_models_with_classes_of_their_own_are_refused_by_these(name):
    original, _ = config_of(name)
    with pytest.raises(InputError, match=rf"{REFUSED[name]} is no layer class of Keras' own \(\d+ layers"):
        network_of(original, f"{name}.json")
