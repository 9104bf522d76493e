"""What optimizers do by their own arguments, and the defaults of kbuild around them, through the spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError
from kbuild.model.backend import import_keras
from kbuild.plan.losses import resolve_losses
from kbuild.train.data.arrays import Data, Split
from kbuild.train.loop import Loop
from kbuild.train.prepare import Prepared, build, prepare

SPEC = """\
name: tiny
input: {shape: [5]}
ordering: W-N-A
layers:
  - {Dense: {units: 7, activation: relu}, name: first}
  - {LayerNormalization: , name: norm}
  - {Dense: {units: 3, activation: softmax}, name: out}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  optimizer: OPTIMIZER
  metrics: [accuracy]
  weighted_metrics: [accuracy]
  seed: 3
"""

ROWS, BATCH = 40, 8


@pytest.fixture
def data() -> Data:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 5)).astype("float32")
    return Data(Split({"input": x}, {"out": random.integers(0, 3, ROWS)}), None, None)


def prepared(compiled: Callable[..., Any], data: Data, optimizer: str, *overrides: str) -> tuple[Any, Loop]:
    """The settings, and a loop around the model that the spec gives."""
    spec, plan = compiled(SPEC.replace("OPTIMIZER", optimizer), *overrides)
    settings = spec.train
    model = build(Prepared(settings, resolve_losses(settings, plan), data), plan)
    return settings, Loop(model, data.train, BATCH)


PLAIN = {"SGD": {"learning_rate": 0.1, "momentum": 0.9}, "Adam": {"learning_rate": 0.1}}

#: Adam's update is the fused kernel; clipping does not show in its steps, which know no scale.
ARGUMENTS = [
    pytest.param("SGD", {"clipnorm": 0.05}, marks=pytest.mark.slow),
    pytest.param("SGD", {"clipvalue": 0.01}, marks=pytest.mark.slow),
    pytest.param("SGD", {"global_clipnorm": 0.05}, marks=pytest.mark.slow),
    ("SGD", {"use_ema": True, "ema_momentum": 0.8}),
    pytest.param("SGD", {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3}, marks=pytest.mark.slow),
    pytest.param("SGD", {"gradient_accumulation_steps": 3}, marks=pytest.mark.slow),
    ("Adam", {"gradient_accumulation_steps": 3}),
    pytest.param("SGD", {"weight_decay": 0.1}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(
    ("kind", "argument"), ARGUMENTS, ids=lambda one: one if isinstance(one, str) else "+".join(one)
)
def test_arguments_of_optimizers_are_keras_own(
    compiled: Callable[..., Any], data: Data, kind: str, argument: dict[str, Any]
) -> None:
    """Two epochs end where Keras' own loop ends, and not where they end without the argument."""
    keras: Any = import_keras()
    given = {**PLAIN[kind], **argument}
    written = f"{{{kind}: {{{', '.join(f'{k}: {str(v).lower()}' for k, v in given.items())}}}}}"
    ours, theirs, without = (prepared(compiled, data, written, "train.decay=all")[1] for _ in range(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    for loop, arguments in ((theirs, given), (without, PLAIN[kind])):
        loop.model.compile(getattr(keras.optimizers, kind)(**arguments), loss)
    (x,), (y,) = data.train.x.values(), data.train.y.values()
    for _ in range(2):
        ours.train_chunk(ours.order(np.arange(ROWS)), 0, ours.steps)
        for start in range(0, ROWS, BATCH):
            for loop in (theirs, without):
                loop.model.train_on_batch(x[start : start + BATCH], y[start : start + BATCH])
    found = []
    for loop in (ours, theirs, without):
        loop.model.optimizer.finalize_variable_values(loop.model.trainable_weights)
        found.append(np.concatenate([variable.numpy().ravel() for variable in loop.model.trainable_variables]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3


@pytest.mark.parametrize("optimizer", ["{AdamW: {weight_decay: 0.1}}", "{SGD: {weight_decay: 0.1}}"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_weight_decay_leaves_gamma_beta_and_biases_alone(
    compiled: Callable[..., Any], data: Data, optimizer: str, precision: str
) -> None:
    found = {}
    for decay in ("weights", "all"):
        overrides = (f"train.decay={decay}", f"train.precision={precision}")
        model = prepared(compiled, data, optimizer, *overrides)[1].model
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        for variable in model.trainable_variables:
            variable.assign(np.ones(variable.shape))
        inner._apply_weight_decay(model.trainable_variables)
        found[decay] = {variable.path for variable in model.trainable_variables if (variable.numpy() != 1).any()}
    kernels = {"first/kernel", "out/kernel"}
    assert found["weights"] == kernels
    others = {"first_bn/gamma", "first_bn/beta", "norm/gamma", "norm/beta", "out/bias"}
    assert found["all"] == kernels | others


def test_what_decay_takes(compiled: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="`decay` must be one of weights, all"):
        compiled(SPEC.replace("OPTIMIZER", "SGD"), "train.decay=none")


def test_weighted_metrics_are_weighted(compiled: Callable[..., Any], data: Data) -> None:
    _, loop = prepared(compiled, data, "SGD")
    y = data.train.y["out"]
    weight = np.where(y == 1, 5.0, 1.0).astype("float32")
    got = loop.evaluate(replace(data.train, weight={"": weight}))
    (x,) = data.train.x.values()
    right = loop.model.predict(x, verbose=0).argmax(-1) == y
    assert got["accuracy"] == pytest.approx(right.mean())
    assert got["weighted_accuracy"] == pytest.approx((right * weight).sum() / weight.sum())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_heads_compute_in_float32(compiled: Callable[..., Any], data: Data, precision: str) -> None:
    spec, plan = compiled(SPEC.replace("OPTIMIZER", "Adam"), f"train.precision={precision}")
    model = build(Prepared(spec.train, resolve_losses(spec.train, plan), data), plan)
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    low = precision.removeprefix("mixed_")
    assert computed["first"] == computed["first_bn"] == computed["norm"] == low
    assert computed["out"] == computed["out_softmax"] == "float32"
    assert model.output.dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    loop = Loop(model, data.train, BATCH)
    assert loop.train_chunk(loop.order(np.arange(ROWS)), 0, loop.steps) == loop.steps


def test_a_written_dtype_of_a_head_wins(compiled: Callable[..., Any]) -> None:
    text = SPEC.replace("OPTIMIZER", "Adam").replace("units: 3,", "units: 3, dtype: float64,")
    _, plan = compiled(text, "train.precision=mixed_float16")
    assert plan.layer("out").config["dtype"] == "float64"
    assert plan.layer("first").config.get("dtype") is None
    assert "float32 in a head (precision: mixed_float16)" in plan.layer("out_softmax").because
    _, plan = compiled(SPEC.replace("OPTIMIZER", "Adam"))
    assert "dtype" not in plan.layer("out").config


YEARS = """\
input: {table: {numeric: [year, income], category: {job: [admin, tech]}}}
layers:
  - {Dense: {units: 4, activation: relu}, name: hidden}
  - {Dense: 1, name: out}
train: {data: {csv: people.csv, y: age}, loss: mse, validation: 0, precision: PRECISION}
"""


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_raw_numbers_are_scaled_in_float32(tmp_path: Path, compiled: Callable[..., Any], precision: str) -> None:
    """The years 2010 to 2013 are two numbers in bfloat16, and 99,999 is infinite in float16."""
    pytest.importorskip("pyarrow")
    rows = [f"{2010 + at % 4},{(at % 2) * 99_999},{['admin', 'tech'][at % 2]},{at % 7}" for at in range(64)]
    (tmp_path / "people.csv").write_text("\n".join(["year,income,job,age", *rows]) + "\n")
    spec, plan = compiled(YEARS.replace("PRECISION", precision))
    prepared = prepare(spec, plan, spec.train)
    model, x = build(prepared, plan), prepared.data.train.x
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert computed["table_numeric"] == computed["table_normalized"] == "float32"
    assert computed["hidden"] == precision.removeprefix("mixed_")
    scaled = import_keras().Model(model.inputs[:2], model.get_layer("table_normalized").output)
    got = scaled.predict([x["year"], x["income"]], verbose=0)
    raw = np.concatenate([x["year"], x["income"]], 1).astype("float64")
    np.testing.assert_allclose(got, (raw - raw.mean(0)) / raw.std(0), rtol=1e-4)
