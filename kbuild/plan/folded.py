"""Plan → the plan of its inference: normalizations that fold are part of their weight layers, dropout is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kbuild.catalog.layers import lookup
from kbuild.plan.channels import is_dropout
from kbuild.plan.folding import Folding, decide
from kbuild.plan.plan import Plan, PlannedLayer, PlannedUnit

#: Of training alone: what is folded is for inference.
_OF_TRAINING = tuple(
    f"{weight}_{kind}"
    for weight in ("kernel", "bias", "depthwise", "pointwise", "activity")
    for kind in ("initializer", "regularizer", "constraint")
)


@dataclass(frozen=True)
class FoldedPlan:
    """A plan for inference, and how to come to its weights.

    Attributes:
        plan: without the normalizations that fold and without dropout.
        foldings: in the order in which they are to be applied to the weights.
        dropped: the dropout and noise layers that are gone.
        kept: normalization → why it stays.
    """

    plan: Plan
    foldings: tuple[Folding, ...]
    dropped: tuple[str, ...]
    kept: dict[str, str]


def fold_plan(plan: Plan) -> FoldedPlan:
    """Fold what can be folded.

    A layer that is an output keeps its name: where it goes, an `Identity` stands for it.
    """
    found = decide(plan.layers, plan.outputs)
    norms = [found[layer.name] for layer in plan.layers if layer.name in found and found[layer.name].weight]
    # The nearest to a weight layer is applied first: in order behind it, in reverse order before it.
    foldings = (*(f for f in norms if not f.ahead), *(f for f in reversed(norms) if f.ahead))
    dropped = tuple(layer.name for layer in plan.layers if is_dropout(layer))
    gone = {folding.norm for folding in foldings} | set(dropped)
    instead: dict[str, str] = {}
    into: dict[str, list[str]] = {}
    for folding in foldings:
        into.setdefault(str(folding.weight), []).append(folding.norm)
    layers: list[PlannedLayer] = []
    for layer in plan.layers:
        inputs = tuple(instead.get(name, name) for name in layer.inputs)
        if layer.name in gone and layer.name not in plan.outputs:
            instead[layer.name] = inputs[0]
            continue
        layer = replace(layer, inputs=inputs)
        if layer.name in gone:
            layer = _identity(layer)
        elif layer.name in into:
            layer = _with_bias(layer, into[layer.name])
        layers.append(layer)
    kept = {name: folding.because for name, folding in found.items() if folding.weight is None}
    why = {folding.norm: folding.because for folding in foldings}
    why |= dict.fromkeys(dropped, "does nothing at inference")
    units = tuple(_unit(unit, gone, why) for unit in plan.units)
    return FoldedPlan(replace(plan, layers=tuple(layers), units=units), foldings, dropped, kept)


def _identity(layer: PlannedLayer) -> PlannedLayer:
    because = f"an output of that name; {layer.cls} is folded away"
    return PlannedLayer(
        layer.name, "Identity", None, None, layer.inputs, {}, layer.output_shape, 0, 0, because, layer.source
    )


def _with_bias(layer: PlannedLayer, norms: list[str]) -> PlannedLayer:
    config = {name: value for name, value in layer.config.items() if name not in _OF_TRAINING}
    if layer.cls == "EinsumDense":
        added = 0 if config.get("bias_axes") else _outputs(layer)
        config["bias_axes"] = config.get("bias_axes") or config["equation"][-1]
    else:
        added = 0 if config.get("use_bias", True) else _outputs(layer)
        config["use_bias"] = True
    return replace(
        layer,
        config=config,
        params=None if layer.params is None or added is None else layer.params + added,
        trainable_params=None if layer.trainable_params is None or added is None else layer.trainable_params + added,
        because=f"{layer.because}; {', '.join(norms)} folded into it",
        bias_because=f"bias: holds the shift of {', '.join(norms)}",
    )


def _outputs(layer: PlannedLayer) -> int | None:
    """The number of outputs of a weight layer, one bias each."""
    shape = layer.output_shape
    if shape is None:
        return None
    facts = lookup(layer.cls)
    first = facts is not None and facts.kind == "conv" and layer.config.get("data_format") == "channels_first"
    return shape[1] if first else shape[-1]


def _unit(unit: PlannedUnit, gone: set[str], why: Mapping[str, str]) -> PlannedUnit:
    away = {letter: why[name] for letter, name in unit.layers.items() if name in gone}
    left = {letter: name for letter, name in unit.layers.items() if letter not in away}
    return replace(unit, layers=left, moved={**unit.moved, **away})
