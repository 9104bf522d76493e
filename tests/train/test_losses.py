"""`from_logits` follows from the head; contradictions are errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kbuild.errors import SpecError
from kbuild.plan.losses import output_activation, resolve_losses, resolve_metrics

SPEC = """\
input: {{shape: [4]}}
ordering: W-N-A-D
layers:
  - Dense: {{units: 8, activation: relu}}
  - {{Dense: {head}, name: out}}
{after}
train:
  data: digits
  loss: {loss}
  metrics: {metrics}
"""


@pytest.fixture
def resolved(compiled: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(head: str, loss: str, metrics: str = "[]", after: str = "") -> Any:
        spec, plan = compiled(SPEC.format(head=head, loss=loss, metrics=metrics, after=after))
        targets = resolve_losses(spec.train, plan)
        return targets[0], resolve_metrics(spec.train, plan, targets)[targets[0].output]

    return resolve


@pytest.mark.parametrize(
    ("head", "loss", "name", "logits", "family"),
    [
        ("10", "sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", True, "sparse"),
        (
            "{units: 10, activation: softmax}",
            "sparse_categorical_crossentropy",
            "SparseCategoricalCrossentropy",
            False,
            "sparse",
        ),
        (
            "{units: 10, activation: linear}",
            "SparseCategoricalCrossentropy",
            "SparseCategoricalCrossentropy",
            True,
            "sparse",
        ),
        ("10", "categorical_crossentropy", "CategoricalCrossentropy", True, "categorical"),
        (
            "{units: 10, activation: softmax}",
            "CategoricalFocalCrossentropy",
            "CategoricalFocalCrossentropy",
            False,
            "categorical",
        ),
        ("1", "binary_crossentropy", "BinaryCrossentropy", True, "binary"),
        (
            "{units: 1, activation: sigmoid}",
            "{BinaryFocalCrossentropy: {gamma: 3.0}}",
            "BinaryFocalCrossentropy",
            False,
            "binary",
        ),
        ("3", "mse", "MeanSquaredError", None, "other"),
        (
            "{units: 3, activation: log_softmax}",
            "categorical_crossentropy",
            "CategoricalCrossentropy",
            True,
            "categorical",
        ),
    ],
)
def test_from_logits_follows_the_head(
    resolved: Callable[..., Any], head: str, loss: str, name: str, logits: bool | None, family: str
) -> None:
    target, _ = resolved(head, loss)
    assert (target.loss, target.config.get("from_logits"), target.family) == (name, logits, family)


@pytest.mark.parametrize(
    ("head", "loss", "message"),
    [
        (
            "10",
            "{SparseCategoricalCrossentropy: {from_logits: false}}",
            "has from_logits: false, but 'out' gives logits",
        ),
        (
            "{units: 10, activation: softmax}",
            "{SparseCategoricalCrossentropy: {from_logits: true}}",
            "has from_logits: true, but 'out_softmax' gives probabilities (softmax)",
        ),
        ("{units: 1, activation: softmax}", "binary_crossentropy", "a softmax over one unit, which is always 1"),
        ("1", "sparse_categorical_crossentropy", "has one unit: its loss is always 0"),
        ("{units: 1, activation: sigmoid}", "categorical_crossentropy", "has one unit: its loss is always 0"),
        ("{units: 10, activation: relu}", "sparse_categorical_crossentropy", "ends in relu"),
        ("{units: 10, activation: tanh}", "binary_crossentropy", "ends in tanh"),
        ("10", "kl_divergence", "needs probabilities"),
    ],
)
def test_contradictions(resolved: Callable[..., Any], head: str, loss: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(head, loss)
    (problem,) = caught.value.problems
    assert problem.code == "loss-activation-mismatch"
    assert message in problem.message
    assert problem.hint
    assert problem.span is not None
    assert problem.span.line == 9


def test_an_activation_written_as_a_layer_counts(resolved: Callable[..., Any]) -> None:
    target, _ = resolved("10", "sparse_categorical_crossentropy", after="  - Softmax")
    assert target.config["from_logits"] is False


def test_accuracy_behind_one_logit_has_the_threshold_0(resolved: Callable[..., Any]) -> None:
    _, (accuracy,) = resolved("1", "binary_crossentropy", "[accuracy]")
    assert (accuracy.class_name, accuracy.config) == ("BinaryAccuracy", {"name": "accuracy", "threshold": 0.0})
    _, (accuracy,) = resolved("{units: 1, activation: sigmoid}", "binary_crossentropy", "[accuracy]")
    assert (accuracy.class_name, accuracy.config) == ("accuracy", {})


def test_metrics_learn_from_logits_too(resolved: Callable[..., Any]) -> None:
    _, (auc,) = resolved("1", "binary_crossentropy", "[{AUC: {curve: PR}}]")
    assert auc.config == {"curve": "PR", "from_logits": True}
    with pytest.raises(SpecError, match="Precision has thresholds between 0 and 1"):
        resolved("1", "binary_crossentropy", "[Precision]")


TWO = """\
inputs: {a: {shape: [4]}}
layers:
  - {Dense: 3, name: left, from: a}
  - {Dense: {units: 1, activation: sigmoid}, name: right, from: a}
train: {data: digits, loss: LOSS}
"""


def test_losses_by_output(compiled: Callable[..., Any]) -> None:
    spec, plan = compiled(TWO.replace("LOSS", "{left: sparse_categorical_crossentropy, right_sigmoid: bce}"))
    left, right = resolve_losses(spec.train, plan)
    assert (left.config["from_logits"], right.config["from_logits"]) == (True, False)
    assert output_activation(plan, "right_sigmoid") == "sigmoid"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mse", "the model has the outputs left, right_sigmoid"),
        ("{left: mse, rigth_sigmoid: mse}", "the model has no output 'rigth_sigmoid'"),
    ],
)
def test_losses_of_several_outputs_are_named(compiled: Callable[..., Any], loss: str, message: str) -> None:
    spec, plan = compiled(TWO.replace("LOSS", loss))
    with pytest.raises(SpecError) as caught:
        resolve_losses(spec.train, plan)
    assert message in str(caught.value)
