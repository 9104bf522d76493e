"""Plan → keras.Model: a plain loop over the plan's layers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kbuild.catalog.layers import lookup
from kbuild.catalog.operations import OPERATIONS
from kbuild.errors import InputError, Problem, Source, Span, SpecError
from kbuild.model import custom
from kbuild.model.backend import import_keras
from kbuild.model.verify import verify
from kbuild.plan.plan import Plan, PlannedLayer

#: Bounds on what is built, by the name the error shows.
LIMITS = {"parameters": 4_000_000_000}


def build_model(plan: Plan, seed: int = 0) -> Any:
    """Build the Keras functional model of a plan.

    Initial weights and dropout masks of a layer depend on `seed` and on the layer's name alone, so layers of the same
    name start equal under every ordering.

    Args:
        plan: the resolved graph.
        seed: the spec's seed.

    Returns:
        The built `keras.Model`, checked against the plan.

    Raises:
        SpecError: Keras refuses an argument or a shape that the catalog has no rule for.
        InternalError: the model differs from the plan: a bug in kbuild.
    """
    total = plan.total_params
    if total is not None and total > LIMITS["parameters"]:
        raise InputError(
            f"{plan.name} has {total:,} parameters, more than the limit parameters ({LIMITS['parameters']:,}); "
            "it would not fit into memory"
        )
    keras = import_keras()
    tensors: dict[str, Any] = {}
    for layer in plan.layers:
        if layer.cls == "InputLayer":
            shape = layer.config["shape"]
            tensors[layer.name] = keras.Input(shape=shape, dtype=layer.config["dtype"], name=layer.name)
            continue
        with seeded(seed, layer.name):
            try:
                tensors[layer.name] = _call(_make(keras, layer), layer, [tensors[name] for name in layer.inputs])
            except custom.refusals(layer.cls) as error:
                raise SpecError([_refusal(layer, error)]) from error
    model = keras.Model(
        inputs=_one_or_list([tensors[layer.name] for layer in plan.inputs]),
        outputs=_one_or_list([tensors[name] for name in plan.outputs]),
        name=plan.name,
    )
    verify(plan, model)
    return model


def _one_or_list(tensors: list[Any]) -> Any:
    """Keras' own custom: a model of one input takes a tensor, a model of several a list."""
    return tensors[0] if len(tensors) == 1 else tensors


def _make(keras: Any, layer: PlannedLayer) -> Any:
    if layer.cls in OPERATIONS:
        return _operation_class(keras, layer.cls)(name=layer.name)
    cls = custom.class_of(layer.cls) or getattr(keras.layers, layer.cls, None)
    if cls is None:
        raise ImportError(f"Keras {keras.__version__} has no layer class {layer.cls}")
    return cls(**{name: _value(keras, value) for name, value in layer.config.items()}, name=layer.name)


def _operation_class(keras: Any, name: str) -> Any:
    """The class behind a function of keras.ops, whose nodes have names; found through a tensor of no graph."""
    probe = getattr(keras.ops, OPERATIONS[name].function)(keras.KerasTensor((1,)), 1.0)
    return type(probe._keras_history.operation)


def _value(keras: Any, value: Any) -> Any:
    """Plain data as Keras takes it: serialized layers deserialized, lists as tuples."""
    if isinstance(value, dict) and set(value) == {"class_name", "config"}:
        if lookup(value["class_name"]) is None:
            return value
        config = {name: _value(keras, item) for name, item in value["config"].items()}
        cls = custom.class_of(value["class_name"]) or getattr(keras.layers, value["class_name"])
        return cls(**config)
    if isinstance(value, list):
        items = [_value(keras, item) for item in value]
        return items if any(isinstance(item, (str, keras.layers.Layer)) for item in items) else tuple(items)
    return value


def _call(made: Any, layer: PlannedLayer, inputs: list[Any]) -> Any:
    facts = lookup(layer.cls)
    reads = facts.reads if facts is not None else "one"
    if layer.cls in OPERATIONS:
        pending = iter(inputs)
        return made(*(layer.config[name] if name in layer.config else next(pending) for name in ("x1", "x2")))
    if reads == "many":
        return made(inputs)
    return made(*inputs)


def _refusal(layer: PlannedLayer, error: Exception) -> Problem:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    place = layer.source
    facts = lookup(layer.cls)
    who = f"the package {facts.package}" if facts is not None and facts.package else "Keras"
    text = f"{who} refuses {layer.name} ({layer.cls}): {message}"
    if place is None:
        return Problem("shape", text)
    return Problem("shape", text, Span(Source(place.file, ""), place.line, place.column))


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Python's random state, from which Keras draws the seeds of initializers and dropout, set from seed and name."""
    before = random.getstate()
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    random.seed(int.from_bytes(digest[:8], "big"))
    try:
        yield
    finally:
        random.setstate(before)
