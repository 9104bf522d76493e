"""Which orderings are one model: a fingerprint of a plan and its training settings that knows no names or reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from kbuild.errors import Span
from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.spec.train import TrainSettings


def fingerprint(plan: Plan, settings: TrainSettings) -> str:
    """A hash that two orderings share exactly where they are the same model, trained the same way.

    >>> from kbuild.plan.pipeline import plan_spec
    >>> from kbuild.spec.load import parse_spec
    >>> text = "{input: {shape: [4]}, layers: [{Dense: 8}, {Dense: 3}], train: {data: digits, loss: mse}}"
    >>> specs = [parse_spec(text, ordering) for ordering in ("W-N-A", "W-A-N", "W-A", "W")]
    >>> one, other, plain, bare = [fingerprint(plan_spec(spec), spec.train) for spec in specs]
    >>> one == other, one == plain, plain == bare
    (True, False, True)
    """
    data = {"model": model_form(plan), "training": plain(settings)}
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


def model_form(plan: Plan) -> list[Any]:
    """The graph without names: per layer its class, its arguments and the numbers of the layers it reads.

    Layers are numbered as a walk from the outputs meets them, so the order in which a plan lists them does not matter.
    """
    numbers: dict[str, int] = {}
    form: list[Any] = []
    for layer in _walk(plan):
        numbers[layer.name] = len(numbers)
        form.append([layer.cls, layer.config, [numbers[name] for name in layer.inputs]])
    inputs = [numbers.get(layer.name) for layer in plan.inputs]
    return [form, inputs, [numbers[name] for name in plan.outputs]]


def _walk(plan: Plan) -> Iterator[PlannedLayer]:
    """Every layer the outputs depend on, once, inputs before readers."""
    met: set[str] = set()
    for output in plan.outputs:
        stack = [output]
        while stack:
            layer = plan.layer(stack[-1])
            waiting = [name for name in layer.inputs if name not in met]
            if waiting:
                stack.append(waiting[0])
                continue
            stack.pop()
            if layer.name not in met:
                met.add(layer.name)
                yield layer


def plain(value: Any) -> Any:
    """Settings without the places they were written at, and without the seed, which a study sets itself."""
    if isinstance(value, Span):
        return None
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(one) for name, one in named.items() if name not in ("span", "spans", "seed")}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
