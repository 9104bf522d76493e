"""The zoo: specs that are models of keras.applications, number for number, and models of papers by their parameters."""

from __future__ import annotations

import numpy as np
import pytest

from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.plan.pipeline import compile_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES
from kbuild.resources import specs_dir

keras = import_keras()

#: Spec → class of keras.applications, parameters at full size, edge of the input the outputs are compared on.
APPLICATIONS = {
    "vgg16": ("VGG16", 138_357_544, 32),
    "resnet50": ("ResNet50", 25_636_712, 64),
    "resnet50v2": ("ResNet50V2", 25_613_800, 64),
    "densenet121": ("DenseNet121", 8_062_504, 64),
    "mobilenetv2": ("MobileNetV2", 3_538_984, 64),
    "mobilenetv3small": ("MobileNetV3Small", 2_554_968, 64),
}

#: Merges that read their inputs in any order.
COMMUTATIVE = ("Add", "Multiply", "Average")


def plan_of(name: str, ordering: str | None = None, edge: int | None = None) -> Plan:
    overrides = [f"input.shape=[{edge}, {edge}, 3]"] if edge else []
    return compile_spec(specs_dir() / "zoo" / f"{name}.yaml", ordering, overrides)[1]


def sources(layer) -> list:
    return [tensor._keras_history.operation for tensor in layer._inbound_nodes[0].input_tensors]


def in_order(model) -> list:
    """The layers with weights, from the input on; at an addition the longer path first."""
    depth: dict[int, int] = {}
    for layer in model.operations:
        depth[id(layer)] = bool(getattr(layer, "weights", ())) + max((depth[id(x)] for x in sources(layer)), default=0)
    found, seen = [], set()

    def visit(layer) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        before = sources(layer)
        if type(layer).__name__ in COMMUTATIVE:
            before.sort(key=lambda source: -depth[id(source)])
        for source in before:
            visit(source)
        if getattr(layer, "weights", ()):
            found.append(layer)

    visit(model.outputs[0]._keras_history.operation)
    return found


def randomize(layers: list, rng: np.random.Generator) -> None:
    """Weights that keep the signal's size, and statistics of normalizations far from their start."""
    for layer in layers:
        for weight in layer.weights:
            if "variance" in weight.name or "gamma" in weight.name:
                value = rng.uniform(0.5, 1.5, weight.shape)
            elif len(weight.shape) == 1:
                value = rng.normal(0, 0.2, weight.shape)
            else:
                inputs = weight.shape[:-2] if "depthwise" in weight.path.lower() else weight.shape[:-1]
                value = rng.normal(0, np.sqrt(2 / np.prod(inputs)), weight.shape)
            weight.assign(value.astype("float32"))


@pytest.mark.parametrize("name", APPLICATIONS)
def test_as_many_parameters_as_keras_applications_at_full_size(name: str) -> None:
    plan = plan_of(name)
    assert not plan.unresolved
    assert plan.total_params == APPLICATIONS[name][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_same_outputs_as_keras_applications(name: str) -> None:
    cls, _, edge = APPLICATIONS[name]
    keras.backend.clear_session()
    theirs = getattr(keras.applications, cls)(weights=None, classes=1000, input_shape=(edge, edge, 3))
    ours = build_model(plan_of(name, edge=edge))
    assert ours.count_params() == theirs.count_params()
    rng = np.random.default_rng(7)
    mine, reference = in_order(ours), in_order(theirs)
    assert [[w.shape for w in layer.weights] for layer in mine] == [[w.shape for w in x.weights] for x in reference]
    low, high = (0, 255) if "v3" in name else (-2, 2)
    images = rng.uniform(low, high, (4, edge, edge, 3)).astype("float32")
    randomize(reference, rng)
    head = reference[-1]
    features = np.asarray(keras.Model(theirs.inputs[0], head.input)(images, training=False))
    # Logits of size 1, or the softmax says only which is the largest.
    head.kernel.assign(head.kernel / np.sqrt(np.mean(features**2)))
    for layer, source in zip(mine, reference, strict=True):
        layer.set_weights(source.get_weights())
    expected = np.asarray(theirs(images, training=False))
    found = np.asarray(ours(images, training=False))
    assert expected.std(axis=0).max() > 0.01 * expected.max(), "outputs that depend on the input, or this says nothing"
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "trainable", "published"),
    [
        ("wide_resnet_28_10", 36_479_194, 36.5e6),
        ("cifar_resnet110", 1_727_962, 1.7e6),
        ("cifar_resnet164_preact", 1_703_258, 1.7e6),
    ],
)
def test_as_many_parameters_as_the_paper_says(name: str, trainable: int, published: float) -> None:
    plan = plan_of(name)
    assert plan.trainable_params == trainable
    assert float(f"{trainable:.{2 if published < 1e7 else 3}g}") == published


def test_depths_are_those_of_the_names() -> None:
    """Weight layers on the longest path; the 28 of a wide ResNet count its three projections, too, and no head."""
    for name, depth in (("wide_resnet_28_10", 28 - 3 + 1), ("cifar_resnet110", 110), ("cifar_resnet164_preact", 164)):
        plan, longest = plan_of(name), {}
        for layer in plan.layers:
            longest[layer.name] = (layer.role == "W") + max((longest[source] for source in layer.inputs), default=0)
        assert longest[plan.outputs[0]] == depth


def test_the_order_alone_makes_resnet_v2_of_resnet_v1() -> None:
    plan = plan_of("resnet50", "N-A-W")
    # Behind every addition stands the next block's or the closing normalization; nothing else changes the trunk.
    readers: dict[str, list[str]] = {}
    for layer in plan.layers:
        for source in layer.inputs:
            readers.setdefault(source, []).append(layer.cls)
    additions = [layer.name for layer in plan.layers if layer.cls == "Add"]
    assert len(additions) == 16
    assert all(set(readers[name]) <= {"BatchNormalization", "Add"} for name in additions)
    # The stem is W alone, four projections read the shared pre-activation, the trunk closes before the pooling.
    stem = plan.layer("stem")
    assert [layer.cls for layer in plan.layers if layer.inputs == (stem.name,)] == ["ZeroPadding2D"]
    projections = [layer for layer in plan.layers if "shortcut" in layer.name]
    assert [plan.layer(layer.inputs[0]).cls for layer in projections] == ["Activation"] * 4
    pooling = next(layer for layer in plan.layers if layer.cls == "GlobalAveragePooling2D")
    assert pooling.inputs == ("closing_relu",)
    # As many normalizations as keras.applications.ResNet50V2 has: projections have none.
    count = sum(layer.cls == "BatchNormalization" for layer in plan.layers)
    assert count == sum(layer.cls == "BatchNormalization" for layer in plan_of("resnet50v2").layers) == 49


def test_the_order_alone_makes_the_post_activation_resnet_164() -> None:
    first, second = plan_of("cifar_resnet164_preact"), plan_of("cifar_resnet164_preact", "no-dropout")
    weights = [[(x.cls, x.config, x.output_shape) for x in plan.layers if x.role == "W"] for plan in (first, second)]
    assert weights[0] == weights[1]
    assert abs(first.trainable_params - second.trainable_params) < 3_000


def test_one_dropout_in_each_branch_of_a_wide_resnet() -> None:
    plan = plan_of("wide_resnet_28_10")
    dropouts = [layer for layer in plan.layers if layer.cls == "Dropout"]
    assert len(dropouts) == 12
    assert {layer.config["rate"] for layer in dropouts} == {0.3}
    assert {layer.unit.rsplit("_", 1)[1] for layer in dropouts} == {"conv2"}


ZOO = sorted(path.stem for path in (specs_dir() / "zoo").glob("*.yaml"))


@pytest.mark.parametrize("name", ZOO)
def test_every_policy_plans_every_model(name: str) -> None:
    for policy in POLICIES:
        plan = plan_of(name, policy.name)
        assert not plan.unresolved
        assert plan.layer(plan.outputs[0]).output_shape in ((None, 1000), (None, 10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ordering"),
    [
        ("cifar_resnet110", None),
        ("mobilenetv2", "wide-preact"),
        ("mobilenetv3small", "preact"),
        ("resnet50", "branch-dropout"),
        ("densenet121", "conventional"),
    ],
)
def test_keras_builds_what_other_policies_plan(name: str, ordering: str | None) -> None:
    keras.backend.clear_session()
    build_model(plan_of(name, ordering, edge=32))


@pytest.mark.parametrize("name", ZOO)
def test_a_spec_is_short_and_names_its_paper(name: str) -> None:
    text = (specs_dir() / "zoo" / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert "arXiv:" in text.split("\nkbuild: 1\n")[0]
