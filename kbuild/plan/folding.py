"""Which BatchNormalization can be folded into which weight layer at export, and why others cannot.

Backward, into the W before: W' = γW/√(v+ε), b' = γ(b−μ)/√(v+ε) + β. Forward, into the W behind:
W'_i = γ_i W_i/√(v_i+ε) for every input channel i, b' = b + Σ_i (β_i − γ_i μ_i/√(v_i+ε)) W_i. Both are exact
where nothing but layers that do nothing at inference (dropout, noise) or treat every channel alike (Flatten, Reshape,
average pooling) lie between, nothing else reads what lies between, and, forward, the convolution pads nothing, for the
shift does not hold in the padding. Several normalizations may fold into one W.

`summarize`, the lint and the export all ask `decide`.

Reference: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference (arXiv:1712.05877), section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kbuild.catalog.layers import complete, lookup
from kbuild.plan.channels import Channels, backward, channel_axis, commutes, forward
from kbuild.plan.plan import Plan, PlannedLayer, Shape


@dataclass(frozen=True)
class Folding:
    """What becomes of one normalization.

    Attributes:
        norm: its name.
        weight: the weight layer that it folds into, or None.
        ahead: whether that layer reads it (forward), or it reads that layer (backward).
        channels: which channel of the normalization each output (backward) or input (forward) of the weight layer has.
        because: in words.
    """

    norm: str
    weight: str | None
    because: str
    ahead: bool = False
    channels: Channels | None = None


def decide(layers: Sequence[PlannedLayer], outputs: Sequence[str]) -> dict[str, Folding]:
    """Normalization → what becomes of it.

    Args:
        layers: in topological order, with shapes.
        outputs: names of the model's outputs.
    """
    return _Folder(layers, outputs).decide()


def with_folding(plan: Plan) -> Plan:
    """The plan with `folds_into` and `fold_because` of every normalization."""
    found = decide(plan.layers, plan.outputs)
    return replace(
        plan,
        layers=tuple(
            replace(layer, folds_into=found[layer.name].weight, fold_because=found[layer.name].because)
            if layer.name in found
            else layer
            for layer in plan.layers
        ),
    )


class _Folder:
    def __init__(self, layers: Sequence[PlannedLayer], outputs: Sequence[str]):
        self.order = layers
        self.layers = {layer.name: layer for layer in layers}
        self.outputs = set(outputs)
        self.readers: dict[str, list[PlannedLayer]] = {layer.name: [] for layer in layers}
        for layer in layers:
            for source in dict.fromkeys(layer.inputs):
                self.readers[source].append(layer)
        self.back: dict[str, Folding] = {}
        self.ahead: dict[str, Folding] = {}

    def decide(self) -> dict[str, Folding]:
        norms = [layer for layer in self.order if _role(layer) == "N"]
        batch = [layer for layer in norms if layer.cls == "BatchNormalization"]
        why_not: dict[str, str] = {}
        for norm in batch:
            self._settle(norm, self._backward(norm), self.back, why_not)
        for norm in reversed(batch):
            if norm.name not in self.back:
                self._settle(norm, self._forward(norm), self.ahead, why_not)
        found = {}
        for norm in norms:
            folding = self.back.get(norm.name) or self.ahead.get(norm.name)
            if folding is None:
                reason = why_not.get(norm.name, f"{norm.cls} computes its statistics from each input")
                folding = Folding(norm.name, None, f"does not fold: {reason}")
            found[norm.name] = folding
        return found

    @staticmethod
    def _settle(norm: PlannedLayer, made: Folding | str, into: dict[str, Folding], why_not: dict[str, str]) -> None:
        if isinstance(made, Folding):
            into[norm.name] = made
        else:
            why_not[norm.name] = f"{why_not[norm.name]}; {made}" if norm.name in why_not else made

    def _backward(self, norm: PlannedLayer) -> Folding | str:
        channels = _channels(norm)
        if isinstance(channels, str):
            return channels
        below = norm
        while True:
            at = self.layers[below.inputs[0]]
            reason = "" if _role(at) == "W" or at.name in self.back else commutes(at, _positive(norm))
            if reason is None:
                return f"before it stands {at.name} ({at.cls}), no weight layer"
            if at.name in self.outputs:
                return f"{at.name} before it is an output"
            if len(self.readers[at.name]) != 1:
                return f"{at.name} before it has {len(self.readers[at.name])} readers"
            if reason:
                return reason
            if _role(at) == "W":
                return self._into(norm, at, channels)
            if at.name not in self.back:
                passed = _pass(backward, channels, at, self._given(at), at.output_shape)
                if passed is None:
                    return f"{at.name} before it mixes its channels with positions"
                channels = passed
            below = at

    def _into(self, norm: PlannedLayer, weight: PlannedLayer, channels: Channels) -> Folding | str:
        if own_activation(weight):
            return f"{weight.name} applies its own {own_activation(weight)}"
        if weight.config.get("lora_rank"):
            return f"{weight.name} has LoRA factors beside its kernel"
        shape = weight.output_shape
        if weight.cls == "EinsumDense" and einsum_axis(weight) is None:
            return f"{weight.name} has kernel or bias without the last axis of {weight.config['equation']!r}"
        axis = None if shape is None else channel_axis(weight, shape)
        inner = None if shape is None or axis is None else channels.along(axis, shape)
        if inner is None:
            return f"it normalizes axis {_axis(norm)}, not the channels of {weight.name}"
        return Folding(
            norm.name, weight.name, f"folds back into {weight.name}", False, Channels(axis, channels.count, inner)
        )

    def _forward(self, norm: PlannedLayer) -> Folding | str:
        channels = _channels(norm)
        if isinstance(channels, str):
            return "it is not known where its channels stand"
        at = norm
        while True:
            if at.name in self.outputs:
                return f"{at.name} is an output"
            if len(self.readers[at.name]) != 1:
                return f"{at.name} has {len(self.readers[at.name])} readers"
            reader = self.readers[at.name][0]
            if _role(reader) == "W":
                return self._ahead(norm, reader, channels)
            if reader.name not in self.ahead:
                reason = commutes(reader, _positive(norm))
                if reason is None:
                    return f"behind it stands {reader.name} ({reader.cls}), no weight layer"
                if reason:
                    return reason
                passed = _pass(forward, channels, reader, self._given(reader), reader.output_shape)
                if passed is None:
                    return f"{reader.name} behind it mixes its channels with positions"
                channels = passed
            at = reader

    def _ahead(self, norm: PlannedLayer, weight: PlannedLayer, channels: Channels) -> Folding | str:
        if weight.config.get("lora_rank"):
            return f"{weight.name} has LoRA factors beside its kernel"
        shape = self._given(weight)
        if weight.cls == "EinsumDense":
            return f"{weight.name} is an EinsumDense, whose axes have no fixed meaning"
        if shape is None:
            return f"the shape that {weight.name} reads is not known"
        reason = _borders(weight, shape)
        if reason:
            return reason
        axis = channel_axis(weight, shape)
        inner = channels.along(axis, shape)
        if inner is None:
            return f"{weight.name} sees its axis {_axis(norm)} as positions"
        return Folding(
            norm.name, weight.name, f"folds forward into {weight.name}", True, Channels(axis, channels.count, inner)
        )

    def _given(self, layer: PlannedLayer) -> Shape | None:
        return self.layers[layer.inputs[0]].output_shape


def _pass(rule: Any, channels: Channels, layer: PlannedLayer, given: Shape | None, made: Shape | None) -> Any:
    if given is None or made is None:
        return None
    return rule(channels, layer, given, made)


def _role(layer: PlannedLayer) -> str | None:
    if layer.role is not None:
        return layer.role
    facts = lookup(layer.cls)
    return facts.role if facts is not None else None


def own_activation(layer: PlannedLayer) -> str:
    """The activation that a weight layer applies itself; an empty string for linear."""
    value = layer.config.get("activation")
    if isinstance(value, dict):
        value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    return "" if value in (None, "linear", "Linear") else str(value)


def einsum_axis(weight: PlannedLayer) -> int | None:
    """The axis of an EinsumDense's kernel that becomes the last axis of its output, where a bias has it too.

    None where the kernel lacks it, or has it twice, or a bias that is there lacks it.
    """
    args = complete(weight.cls, weight.config)
    _, kernel, output = re.split(",|->", args["equation"])
    last, bias = output[-1], args["bias_axes"] or output[-1]
    return kernel.index(last) if kernel.count(last) == 1 and last in bias else None


def _axis(norm: PlannedLayer) -> int:
    axis = norm.config.get("axis", -1)
    return int(axis[0] if isinstance(axis, (list, tuple)) else axis)


def _positive(norm: PlannedLayer) -> bool:
    return norm.config.get("scale") is False


def _channels(norm: PlannedLayer) -> Channels | str:
    shape = norm.output_shape
    if shape is None:
        return "its shape is known to Keras alone"
    axis = _axis(norm) % len(shape)
    count = shape[axis]
    return Channels(axis, count) if count is not None and axis else f"it normalizes axis {axis}"


def _borders(weight: PlannedLayer, shape: Shape) -> str:
    """Why a shift of the input does not reach every output of a weight layer alike; empty where it does."""
    facts = lookup(weight.cls)
    if facts is None or facts.kind != "conv":
        return ""
    args = complete(weight.cls, weight.config)
    sides = [_tuple(args.get(name, 1), facts.rank) for name in ("kernel_size", "strides", "dilation_rate")]
    windows = list(zip(*sides, strict=True))
    if weight.cls.endswith("Transpose"):
        if all(size == 1 and stride == 1 for size, stride, _ in windows):
            return ""
        return f"{weight.name} is transposed: not all of its outputs see all of its weights"
    if args["padding"] == "valid":
        return ""
    positions = shape[2:] if args.get("data_format") == "channels_first" else shape[1:-1]
    if args["padding"] == "causal":
        padded = any(size > 1 for size, _, _ in windows)
    else:
        padded = any(_padded(size, *window) for size, window in zip(positions, windows, strict=True))
    return f"{weight.name} pads with zeros, where the shift does not hold" if padded else ""


def _padded(size: int | None, kernel: int, stride: int, dilation: int) -> bool:
    """Whether `same` pads an axis: the windows at every `stride` reach beyond its end."""
    span = (kernel - 1) * dilation + 1
    if size is None:
        return span > 1
    return (-(-size // stride) - 1) * stride + span > size


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)
