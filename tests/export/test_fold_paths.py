"""What may lie between a normalization and the weight layer that takes it, and what may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kbuild.errors import InternalError
from kbuild.export.fold import fold_model
from kbuild.model.lower import build_model
from kbuild.plan.pipeline import compile_spec, plan_spec
from kbuild.plan.plan import Plan
from kbuild.resources import spec_path
from kbuild.spec.load import parse_spec
from tests.export.folding import compare, spoil

CASES = yaml.safe_load((Path(__file__).parent.parent / "data" / "fold.yaml").read_text(encoding="utf-8"))
C = {"Conv2D": {"filters": 4, "kernel_size": 3}}


def plan_of(shape: list[int | None], layers: list[Any]) -> Plan:
    spec = {"input": {"shape": shape}, "ordering": "W-A", "layers": [*layers, {"Dense": 2, "name": "h"}]}
    return plan_spec(parse_spec(yaml.safe_dump(spec)))


@pytest.mark.parametrize("case", CASES["folds"], ids=lambda case: case["case"])
def test_folds(case: dict[str, Any]) -> None:
    plan = plan_of(case["shape"], case["layers"])
    assert [layer.fold_because for layer in plan.layers if layer.role == "N"] == [f"folds {t}" for t in case["says"]]
    difference, folded = compare(plan)
    # TensorFlow interpolates in single precision.
    assert difference < (1e-6 if "bilinear" in case["case"] else 1e-12)
    assert not [layer for layer in folded.model.layers if "Normalization" in type(layer).__name__]


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["case"])
def test_refused(case: dict[str, Any]) -> None:
    plan = plan_of(case["shape"], case["layers"])
    norm = next(layer for layer in plan.layers if layer.role == "N")
    assert norm.folds_into is None
    assert norm.fold_because.startswith("does not fold: ")
    assert case["reason"] in norm.fold_because
    difference, folded = compare(plan)
    assert difference < 1e-12
    assert folded.plan.kept == {norm.name: norm.fold_because}


OTHERS = """\
input: {shape: [6]}
ordering: W-A
layers:
  - {Dense: 5, name: a}
  - {BatchNormalization: {}, name: n}
  - {Dense: 3, name: b}
  - {Dense: 4, name: c, from: %s}
outputs: %s
"""


@pytest.mark.parametrize(
    ("source", "outputs", "reason"),
    [
        ("n", "[b, c]", "folds back into a"),
        ("a", "[b, c]", "folds forward into b"),
        ("n", "[n, b, c]", "folds back into a"),
        ("b", "[a, c]", "folds forward into b"),
        ("a", "[n, b, c]", "does not fold: a before it has 2 readers; n is an output"),
        ("b", "[a, n, c]", "does not fold: a before it is an output; n is an output"),
    ],
)
def test_readers_and_outputs(source: str, outputs: str, reason: str) -> None:
    """Nobody else may see what the fold changes; an output that goes leaves its name."""
    plan = plan_spec(parse_spec(OTHERS % (source, outputs)))
    assert plan.layer("n").fold_because == reason
    difference, folded = compare(plan)
    assert difference < 1e-12
    names = {layer.name: type(layer).__name__ for layer in folded.model.layers}
    assert names.get("n") == (
        None if "n" not in outputs else "Identity" if "folds" in reason[:5] else "BatchNormalization"
    )


def test_free_sizes() -> None:
    bn = "BatchNormalization"
    plan = plan_of([None, None, 3], [C, bn, "ReLU", bn, "GlobalAveragePooling2D"])
    assert [layer.folds_into for layer in plan.layers if layer.role == "N"] == ["conv1", "h"]
    plan = plan_of([None, 4], [{"Dense": 6}, {"Reshape": [[-1, 2, 3]]}, bn, "ReLU", "GlobalAveragePooling2D"])
    assert plan.layers[3].fold_because.startswith("does not fold: reshape1 before it mixes its channels with positions")


def test_channels_first_is_channels_last_moved() -> None:
    """TensorFlow has no such convolutions for processors: the folded weights are those of the twin."""
    folded = []
    for layout, shape, axis in (("channels_last", [8, 8, 3], -1), ("channels_first", [3, 8, 8], 1)):
        bn = {"BatchNormalization": {"axis": axis}}
        conv = {"Conv2D": {"filters": 4, "kernel_size": 3, "data_format": layout}}
        depthwise = {"DepthwiseConv2D": {"kernel_size": 2, "depth_multiplier": 2, "data_format": layout}}
        pool = {"AveragePooling2D": {"pool_size": 2, "data_format": layout}}
        plan = plan_of(shape, [bn, conv, pool, bn, "ReLU", bn, depthwise, bn, {"Flatten": {"data_format": layout}}, bn])
        assert None not in [layer.folds_into for layer in plan.layers if layer.role == "N"]
        model = build_model(plan)
        spoil(model)
        folded.append([weight.numpy() for weight in fold_model(model, plan).model.weights])
    assert len(folded[0]) == 6
    assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(*folded, strict=True))


def test_the_plan_of_a_folded_model() -> None:
    _, plan = compile_spec(spec_path("mnist_cnn"))
    model = build_model(plan)
    spoil(model)
    folded = fold_model(model, plan).plan
    conv = folded.plan.layer("conv1")
    assert conv.config["use_bias"]
    assert conv.params == plan.layer("conv1").params + 32
    assert conv.because.endswith("; conv1_bn folded into it")
    unit = next(unit for unit in folded.plan.units if unit.name == "dense1")
    assert unit.layers == {"W": "dense1", "A": "dense1_relu"}
    assert unit.moved == {"N": "folds back into dense1", "D": "does nothing at inference"}
    assert folded.dropped == ("dense1_drop",)
    assert folded.kept == {}
    assert folded.plan.from_json(folded.plan.to_json()) == folded.plan


def test_a_model_of_another_plan() -> None:
    _, plan = compile_spec(spec_path("mnist_mlp"))
    model = build_model(plan)
    _, other = compile_spec(spec_path("mnist_mlp"), overrides=["layers.2.Dense.units=100"])
    with pytest.raises((InternalError, ValueError)):
        fold_model(model, other)


@pytest.mark.parametrize(("name", "normalizations", "left"), [("resnet50", 53, 0), ("resnet50v2", 49, 17)])
@pytest.mark.slow
def test_zoo(name: str, normalizations: int, left: int) -> None:
    """All 53 of ResNet50; of ResNet50V2 the two inside every one of its 16 blocks."""
    _, plan = compile_spec(spec_path("digits").parent / "zoo" / f"{name}.yaml", overrides=["input.shape=[64, 64, 3]"])
    assert sum(layer.cls == "BatchNormalization" for layer in plan.layers) == normalizations
    difference, folded = compare(plan, "float32")
    assert difference < 1e-5
    assert sum(type(layer).__name__ == "BatchNormalization" for layer in folded.model.layers) == left
    assert np.isfinite(folded.model.get_weights()[0]).all()
