"""What a saved model was compiled with → the training settings that rules can use: losses and the optimizer."""

from __future__ import annotations

from typing import Any

from kbuild.catalog import facts
from kbuild.plan.losses import FAMILIES, canonical
from kbuild.plan.plan import Plan
from kbuild.spec.data import DataSettings
from kbuild.spec.train import Chosen, TrainSettings

#: Where the arrays come from is not saved with a model.
_UNKNOWN = DataSettings("model", "")
#: Batches are not saved either; large enough for every rule.
_BATCH = 256


def compiled_settings(config: dict[str, Any], plan: Plan) -> TrainSettings | None:
    """The `compile_config` of a model's config; None where the model was saved without one, or with a loss of its own.

    `from_logits` is false where it is not written, as in Keras.
    """
    compiled = config.get("compile_config")
    if not isinstance(compiled, dict):
        return None
    losses = _losses(compiled.get("loss"), plan)
    name, options = _named(compiled.get("optimizer"))
    if losses is None:
        return None
    known = name is not None and facts.signature("optimizer", name) is not None
    optimizer = Chosen(name, options) if known and name is not None else Chosen("SGD")
    return TrainSettings(_UNKNOWN, losses, optimizer=optimizer, batch_size=_BATCH)


def _losses(value: Any, plan: Plan) -> tuple[Chosen, ...] | None:
    outputs = plan.outputs
    if isinstance(value, dict) and "class_name" not in value:
        by_output = value
    else:
        by_output = dict(zip(outputs, value if isinstance(value, list) else [value], strict=False))
    if set(by_output) != set(outputs):
        return None
    found = [_loss(by_output[output], output if len(outputs) > 1 else None) for output in outputs]
    return None if None in found else tuple(one for one in found if one is not None)


def _loss(value: Any, target: str | None) -> Chosen | None:
    name, options = _named(value)
    if name is None or (facts.signature("loss", name) is None and facts.signature("loss", canonical(name)) is None):
        return None
    name = canonical(name)
    if name in FAMILIES:
        options = {"from_logits": bool(options.get("from_logits", False))}
    return Chosen(name, options, target=target)


def _named(value: Any) -> tuple[str | None, dict[str, Any]]:
    """A Keras object's name and arguments: a string, a serialized class or a serialized function."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict):
        return None, {}
    name, config = value.get("class_name"), value.get("config")
    if name == "function":
        return (config, {}) if isinstance(config, str) else (None, {})
    return (name if isinstance(name, str) else None), (config if isinstance(config, dict) else {})
