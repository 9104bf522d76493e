"""A trained model → the model of its inference: normalizations folded into weight layers, dropout gone.

What folds is decided on the plan (`kbuild.plan.folding`), so that `summarize`, the lint and the export agree. Here the
numbers follow: y = s·x + t per channel, with s = γ/√(v+ε) and t = β − s·μ, in float64. Behind W: W' = sW and
b' = sb + t. Before W: W'_i = s_i W_i for the input channel i, and b' = b + Σ t_i W_i over the input channels and the
positions of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kbuild.errors import InternalError
from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.plan.folded import FoldedPlan, fold_plan
from kbuild.plan.folding import Folding, einsum_axis
from kbuild.plan.plan import Plan, PlannedLayer

Array = np.ndarray


@dataclass
class Weights:
    """The weights of a weight layer in float64, and how its kernels name their axes.

    Attributes:
        kernel: of shape (*positions, inputs, outputs); (*positions, outputs, inputs) for transposed convolutions;
            (*positions, inputs, multiplier) for depthwise and separable ones; as the equation says for EinsumDense.
        pointwise: of separable convolutions, of shape (1, ..., inputs * multiplier, outputs).
        bias: of shape (outputs,); for EinsumDense with the axes of the output that it has, outputs the last.
    """

    kernel: Array
    bias: Array
    pointwise: Array | None = None


@dataclass(frozen=True)
class Folded:
    """A folded model.

    Attributes:
        model: the `keras.Model`, checked against its plan.
        plan: its plan; what was folded, dropped and kept, and why.
    """

    model: Any
    plan: FoldedPlan


def fold_model(model: Any, plan: Plan) -> Folded:
    """Fold a built model.

    Args:
        model: as `kbuild.model.lower.build_model` builds it from `plan`, trained.
        plan: complete: with the shape of every layer.

    Raises:
        InternalError: model and plan do not belong together.
    """
    keras: Any = import_keras()
    folded = fold_plan(plan)
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(_policy(model, plan))
    try:
        made = build_model(folded.plan)
    finally:
        keras.config.set_dtype_policy(before)
    changed: dict[str, Weights] = {}
    for folding in folded.foldings:
        layer = model.get_layer(str(folding.weight))
        weights = changed.setdefault(layer.name, read_weights(layer))
        apply(weights, model.get_layer(folding.norm), folding, plan.layer(layer.name))
    for layer in made.layers:
        if layer.name in changed:
            write_weights(layer, changed[layer.name])
        elif layer.weights or hasattr(layer, "get_vocabulary"):
            _copy(model.get_layer(layer.name), layer)
    return Folded(made, folded)


def _policy(model: Any, plan: Plan) -> str:
    """The dtype policy that the model's layers were built under."""
    for planned in plan.layers:
        if planned.cls != "InputLayer" and "dtype" not in planned.config and not planned.cls.startswith("ops."):
            return str(model.get_layer(planned.name).dtype_policy.name)
    return "float32"


def _copy(old: Any, new: Any) -> None:
    values = old.get_weights()
    if [value.shape for value in values] != [value.shape for value in new.get_weights()]:
        raise InternalError(f"the weights of {old.name} do not fit the folded model")
    new.set_weights(values)
    if hasattr(old, "get_vocabulary") and old.vocabulary_size() > new.vocabulary_size():
        new.set_vocabulary(old.get_vocabulary())
    if type(new).__name__ == "Normalization":
        new.finalize_state()


def affine(norm: Any) -> tuple[Array, Array]:
    """Scale and shift of a BatchNormalization at inference, in float64, each of shape (channels,)."""
    mean, variance = (np.asarray(w, "float64") for w in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, "float64")
    shift = -mean * scale
    if norm.center:
        shift = shift + np.asarray(norm.beta, "float64")
    return scale, shift


def read_weights(layer: Any) -> Weights:
    """The weights of a Dense, an EinsumDense or a convolution of any kind; the bias is 0 where it has none."""
    kind = type(layer).__name__
    if kind.startswith("Separable"):
        kernel, pointwise = _double(layer.depthwise_kernel), _double(layer.pointwise_kernel)
    else:
        kernel, pointwise = _double(layer.kernel), None
    if layer.bias is not None:
        bias = _double(layer.bias)
    elif kind.startswith("Depthwise"):
        bias = np.zeros(kernel.shape[-2] * kernel.shape[-1])
    elif kind == "EinsumDense":
        bias = np.zeros(layer.output.shape[-1])
    elif kind.endswith("Transpose"):
        bias = np.zeros(kernel.shape[-2])
    else:
        bias = np.zeros((kernel if pointwise is None else pointwise).shape[-1])
    return Weights(kernel, bias, pointwise)


def write_weights(layer: Any, weights: Weights) -> None:
    """Give a layer weights as `read_weights` reads them."""
    if weights.pointwise is None:
        layer.kernel.assign(weights.kernel)
    else:
        layer.depthwise_kernel.assign(weights.kernel)
        layer.pointwise_kernel.assign(weights.pointwise)
    layer.bias.assign(weights.bias)


def _double(variable: Any) -> Array:
    return np.asarray(variable, "float64")


def apply(weights: Weights, norm: Any, folding: Folding, planned: PlannedLayer) -> None:
    """Fold one normalization into the weights of its layer, in place."""
    scale, shift = affine(norm)
    assert folding.channels is not None
    fold = _fold_forward if folding.ahead else _fold_back
    fold(weights, scale, shift, folding, planned)


def _fold_back(weights: Weights, scale: Array, shift: Array, folding: Folding, planned: PlannedLayer) -> None:
    assert folding.channels is not None
    index = folding.channels.of(weights.bias.shape[-1])
    scale, shift = scale[index], shift[index]
    if planned.cls == "EinsumDense":
        last = einsum_axis(planned)
        assert last is not None  # `decide` asked the same
        weights.kernel = np.moveaxis(np.moveaxis(weights.kernel, last, -1) * scale, -1, last)
    elif weights.pointwise is not None:
        weights.pointwise = weights.pointwise * scale
    elif planned.cls.startswith("Depthwise"):
        weights.kernel = weights.kernel * scale.reshape(weights.kernel.shape[-2:])
    elif planned.cls.endswith("Transpose"):
        weights.kernel = weights.kernel * scale[:, None]
    else:
        weights.kernel = weights.kernel * scale
    weights.bias = weights.bias * scale + shift


def _fold_forward(weights: Weights, scale: Array, shift: Array, folding: Folding, planned: PlannedLayer) -> None:
    assert folding.channels is not None
    kernel = weights.kernel
    positions = tuple(range(kernel.ndim - 2))
    if planned.cls.endswith("Transpose"):
        index = folding.channels.of(kernel.shape[-1])
        weights.bias = weights.bias + kernel.sum(positions) @ shift[index]
        weights.kernel = kernel * scale[index]
    elif planned.cls.startswith(("Depthwise", "Separable")):
        index = folding.channels.of(kernel.shape[-2])
        seen = (kernel.sum(positions) * shift[index][:, None]).reshape(-1)
        if weights.pointwise is not None:
            seen = seen @ weights.pointwise.reshape(weights.pointwise.shape[-2:])
        weights.bias = weights.bias + seen
        weights.kernel = kernel * scale[index][:, None]
    else:
        groups = planned.config.get("groups", 1)
        index = folding.channels.of(kernel.shape[-2] * groups)
        outputs = kernel.shape[-1]
        # Output o reads the inputs of its group: input i of it is channel (o // outputs per group) * inputs + i.
        group = np.arange(outputs) // (outputs // groups)
        channel = group[None, :] * kernel.shape[-2] + np.arange(kernel.shape[-2])[:, None]
        weights.bias = weights.bias + (kernel.sum(positions) * shift[index][channel]).sum(0)
        weights.kernel = kernel * scale[index][channel]
