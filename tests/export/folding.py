"""Shared by the tests of folding: models as training leaves them, and the comparison of folded and unfolded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kbuild.export.fold import fold_model
from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.plan.plan import Plan

keras: Any = import_keras()


@contextmanager
def precision(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def spoil(model: Any, seed: int = 0) -> None:
    """Statistics and biases such as training leaves them: none is 0 or 1, some scales are negative."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.moving_mean.assign(random.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(random.uniform(0.2, 3, layer.moving_variance.shape))
            if layer.scale:
                layer.gamma.assign(random.normal(size=layer.gamma.shape))
            if layer.center:
                layer.beta.assign(random.normal(size=layer.beta.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(size=layer.bias.shape))


def compare(plan: Plan, dtype: str = "float64", seed: int = 0) -> tuple[float, Any]:
    """Largest difference of folded and unfolded predictions relative to the largest prediction, and what was folded."""
    with precision(dtype):
        model = build_model(plan)
    spoil(model, seed)
    folded = fold_model(model, plan)
    random = np.random.default_rng(seed + 1)
    inputs = [random.normal(size=(4, *layer.output_shape[1:])) for layer in plan.inputs]
    given = inputs if len(inputs) > 1 else inputs[0]
    wanted, got = model(given, training=False), folded.model(given, training=False)
    pairs = list(zip(wanted, got, strict=True)) if isinstance(wanted, list) else [(wanted, got)]
    differences = [
        np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in ((np.asarray(a), np.asarray(b)) for a, b in pairs)
    ]
    assert model.output_names == folded.model.output_names
    return float(max(differences)), folded
