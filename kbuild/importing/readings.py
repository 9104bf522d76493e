"""How a spec writes the layer of an N, A or D: what a policy can place, and what stands as written."""

from __future__ import annotations

from typing import Any

from kbuild.importing.network import Layer

#: Dropout class → `kind`; anything else is written by hand.
_KINDS = {"Dropout": "element", "AlphaDropout": "alpha", "GaussianDropout": "gaussian"}
_KINDS |= {f"SpatialDropout{rank}D": "spatial" for rank in (1, 2, 3)}


def letter_of(layer: Layer) -> str:
    """The letter that a layer may stand for in a unit, or an empty string."""
    if len(layer.inputs) != 1:
        return ""
    if layer.role == "N":
        return "N"
    if layer.role == "A" and activation_text(layer) is not None:
        return "A"
    return "D" if layer.role == "D" and dropout_of(layer) is not None else ""


def dropout_of(layer: Layer) -> tuple[float, str] | None:
    """Rate and kind of a D that a policy can place; None for one that stands as written."""
    kind = _KINDS.get(layer.cls)
    if kind is None or set(layer.args) - {"rate", "data_format"} or not 0 < layer.args["rate"] < 1:
        return None
    return layer.args["rate"], kind


def activation_text(layer: Layer) -> Any:
    """What a spec writes for an A inside its weight layer; None for one that stands as written."""
    if layer.role == "W" or layer.cls == "Activation":
        known = layer.role == "W" or set(layer.args) == {"activation"}
        value = layer.args["activation"]
        return value if known and value != "linear" else None
    return written_layer(layer.cls, layer.args)


def written_layer(cls: str, args: dict[str, Any]) -> Any:
    """A class name, or one key with the arguments below it."""
    return {cls: written_arguments(args)} if args else cls


def written_arguments(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments with Keras objects as a spec writes them."""
    return {name: _written(value) for name, value in args.items()}


def _written(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"class_name", "config"}:
        return written_layer(value["class_name"], value["config"])
    if isinstance(value, list):
        return [_written(item) for item in value]
    return value
