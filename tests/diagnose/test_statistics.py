"""Real statistics, recalibration, and the shift that theory predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kbuild.diagnose.predicted import predict
from kbuild.diagnose.statistics import batch_norms, input_moments, levels, recalibrate
from kbuild.lint.view import View
from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec

keras: Any = import_keras()

#: Dropout rate → Δ for relu of a standard normal quantity (Li et al. 2019).
DELTAS = {0.05: 0.928, 0.1: 0.860, 0.2: 0.732, 0.25: 0.672, 0.3: 0.614, 0.5: 0.405}

SHIFTED = """\
input: {shape: [64]}
ordering: {order: W-A-D-N, dropout: %s, norm: {BatchNormalization: {momentum: 0.9}}}
layers:
  - {Dense: {units: 64, kernel_initializer: Identity, activation: relu}, name: a}
  - {Dense: 2, name: out}
"""

DEEP = """\
input: {shape: [8, 8, 3]}
ordering: {order: W-N-A-D, dropout: 0.3}
layers:
  - {Conv2D: {filters: 4, kernel_size: 3, activation: relu}, name: a}
  - residual:
      layers:
        - {Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: relu}, name: b}
        - {Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: relu}, name: c}
  - GlobalAveragePooling2D
  - {Dense: 2, name: out}
"""


def plan_of(text: str) -> Plan:
    return plan_spec(parse_spec(text))


@pytest.mark.parametrize("rate", DELTAS)
def test_delta_by_formula_and_by_simulation(rate: float) -> None:
    """A compiled W-A-D-N whose pre-activations are standard normal learns the variance that the formula says."""
    plan = plan_of(SHIFTED % rate)
    predicted = predict(View(plan), plan.layer("a_bn"))
    assert predicted is not None
    assert (predicted.dropout, predicted.rate, predicted.through) == ("a_drop", rate, None)
    assert round(predicted.delta, 3) == DELTAS[rate]
    model = build_model(plan)
    random = np.random.default_rng(0)
    for _ in range(100):  # 0.9^100 of the starting value is left
        model(random.normal(size=(512, 64)).astype("float32"), training=True)
    norm = batch_norms(model)[0]
    real = input_moments(model, [norm], {"input": random.normal(size=(8192, 64))})["a_bn"]
    assert np.mean(real.variance / norm.moving_variance.numpy()) == pytest.approx(DELTAS[rate], rel=0.02)
    recalibrate(model, {"input": random.normal(size=(8192, 64))})
    assert np.mean(real.variance / norm.moving_variance.numpy()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("order", "name", "wanted"),
    [
        ("W-N-A-D", "b_bn", ("a_drop", "b")),
        ("W-A-D-N", "b_bn", ("b_drop", None)),
        ("W-D-N-A", "a_bn", ("a_drop", None)),
        ("W-N-A", "b_bn", None),
        ("W-N-D-A", "a_bn", None),
        ("W-A-N-D", "b_bn", ("a_drop", "b")),
    ],
)
def test_which_dropout_a_normalization_sees(order: str, name: str, wanted: tuple[str, str | None] | None) -> None:
    units = (
        "[{Dense: {units: 8, activation: relu}, name: a}, {Dense: {units: 8, activation: relu}, name: b}, {Dense: 2}]"
    )
    plan = plan_of(f"input: {{shape: [4]}}\nordering: {{order: {order}, dropout: 0.2}}\nlayers: {units}")
    found = predict(View(plan), plan.layer(name))
    assert (found and (found.dropout, found.through)) == wanted


def test_pooled_moments_are_exact() -> None:
    """Over 600 rows in three uneven passes, with a mean far from zero."""
    plan = plan_of("input: {shape: [5, 3]}\nordering: N-W\nlayers: [BatchNormalization, Flatten, {Dense: 2}]")
    model = build_model(plan)
    rows = np.random.default_rng(0).normal(1000, 1, size=(600, 5, 3)).astype("float32")
    found = input_moments(model, batch_norms(model)[:1], {"input": rows})["bn1"]
    values = rows.reshape(-1, 3).astype("float64")
    assert found.count == 3000
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, values.var(0), rtol=1e-9)
    np.testing.assert_array_equal((found.low, found.high), (values.min(0), values.max(0)))


def test_recalibration_goes_from_the_input_on() -> None:
    """Each normalization has the statistics of what it reads once those before it are recalibrated."""
    model = build_model(plan_of(DEEP))
    rows = {"input": np.random.default_rng(0).normal(3, 2, size=(300, 8, 8, 3)).astype("float32")}
    assert [[norm.name for norm in level] for level in levels(model)] == [["a_bn"], ["b_bn"], ["c_bn"]]
    weights = [weight.numpy() for weight in model.trainable_variables]
    recalibrate(model, rows)
    real = input_moments(model, batch_norms(model), rows)
    for norm in batch_norms(model):
        np.testing.assert_allclose(norm.moving_mean, real[norm.name].mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norm.moving_variance, real[norm.name].variance, rtol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.trainable_variables, strict=True))
