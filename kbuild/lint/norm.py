"""Rules about where normalization stands: behind a bias, on logits, before a linear layer, where it cannot fold."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.lint.finding import Fix, Found, Rule
from kbuild.lint.view import Layer, View, full_config

_LOGIT_READERS = ("softmax", "sigmoid", "log_softmax", "hard_sigmoid")
#: Between N and the weight layer that reads it: dropout has mean 1, the rest rearranges.
_LINEAR = frozenset({"D", "reshape"})


def _biased(view: View) -> Iterator[Found]:
    cancelled = {layer.name: norm for layer in view.of("W") if (norm := _cancelling(view, layer)) is not None}
    mendable = view.mendable(cancelled)
    for name, norm in cancelled.items():
        layer = view.layers[name]
        fix = None
        if layer.source is not None and name in mendable:
            where = layer.source
            what = f"remove use_bias from {layer.cls}; it is then false where a batch normalization cancels it"
            fix = Fix("remove-argument", where.line, where.column, "use_bias", what, "function")
        yield Found(
            f"the bias of {name} is cancelled by {norm.name}, which subtracts the mean and adds its own beta",
            (name, norm.name),
            "leave use_bias out: kbuild then decides",
            fix=fix,
        )


def _cancelling(view: View, layer: Layer) -> Layer | None:
    """The batch normalization that makes the bias of a weight layer useless: its only reader, over its channels."""
    if view.activation(layer) is not None or not _has_bias(layer):
        return None
    norm = view.only_reader(layer)
    if norm is None or norm.cls != "BatchNormalization" or norm.config.get("center") is False:
        return None
    return norm if _over_channels(view, layer, norm) else None


def _has_bias(layer: Layer) -> bool:
    if layer.cls == "EinsumDense":
        return False  # what bias_axes means depends on the equation
    return bool(full_config(layer).get("use_bias", False))


def _over_channels(view: View, layer: Layer, norm: Layer) -> bool:
    axis = norm.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    if layer.config.get("data_format") == "channels_first":
        return bool(axis == 1)
    shape = layer.output_shape
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


BIAS_BEFORE_NORM = Rule(
    "bias-before-norm",
    "warning",
    "a bias directly before a batch normalization is cancelled by it",
    """
Batch normalization subtracts the mean of each channel: W·x + b and W·x have the same output, whatever b is. The bias
is memory and time for nothing (its gradient is zero but for rounding), and weight decay on it shrinks nothing. Beta
is the bias behind the normalization. kbuild leaves the bias out by itself where a BatchNormalization with beta, over
the channel axis, is the only reader of W; this reports a `use_bias: true` that keeps it. Layer and group
normalization take statistics over several channels and do not cancel a bias per channel. `--fix` removes the
argument: the function stays.
""",
    "Ioffe & Szegedy 2015, section 3.2: the bias can be ignored, beta takes its role (arXiv:1502.03167)",
    """
input: {shape: [8, 8, 3]}
ordering: no-dropout
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu, use_bias: true}
  - Flatten
  - Dense: 10
""",
    """
input: {shape: [8, 8, 3]}
ordering: no-dropout
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
  - Flatten
  - Dense: 10
""",
    _biased,
    "removes `use_bias`",
)


def _on_logits(view: View) -> Iterator[Found]:
    for output in view.plan.outputs:
        at, norms = view.layers[output], []
        while view.role(at) in ("A", "D", "N", "reshape") and len(view.inputs(at)) == 1:
            norms += [at] if view.role(at) == "N" else []
            if view.role(at) == "A" and view.activation(at) not in (None, *_LOGIT_READERS):
                norms = []
                break
            at = view.inputs(at)[0]
        final = view.final_activation(output)
        logits = final in _LOGIT_READERS or (final is None and _is_classifier(view, output))
        if view.role(at) != "W" or view.activation(at) is not None or not logits:
            continue
        for norm in reversed(norms):
            behind = f"before the {final} of {output}" if final else "on the logits that the loss reads"
            yield Found(
                f"{norm.name} stands between the head {at.name} and its predictions, {behind}",
                (norm.name, at.name),
                "end the model with the head's own weights: no N, A or D behind them",
            )


def _is_classifier(view: View, output: str) -> bool:
    """Whether the loss of an output reads logits."""
    losses = view.training.settings.loss if view.training else ()
    return any("crossentropy" in loss.class_name.lower() for loss in losses if loss.target in (None, output))


NORM_ON_LOGITS = Rule(
    "norm-on-logits",
    "warning",
    "normalization between the head's weights and the softmax",
    """
A normalization there forces the logits of every class to mean beta and standard deviation gamma over the batch. How
sure the model is of one example then depends on its neighbours in the batch, and at inference on moving statistics of
logits. A class that is rare cannot have a low mean logit but through beta. Normalization serves the layer that reads
it, and behind logits there is only the loss. Reported where N stands between the last weight layer and a softmax or
sigmoid, or where the loss reads the logits; an embedding that ends in normalization is not.
""",
    "Ioffe & Szegedy 2015 normalize the inputs of nonlinearities, section 3.2 (arXiv:1502.03167)",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
  - BatchNormalization
  - Softmax
""",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - BatchNormalization
  - Dense: {units: 10, activation: softmax}
""",
    _on_logits,
)


def _redundant_scale(view: View) -> Iterator[Found]:
    for norm in view.of("N"):
        if not full_config(norm).get("scale", norm.cls == "RMSNormalization"):
            continue
        at = view.only_reader(norm)
        while at is not None and view.role(at) in _LINEAR:
            at = view.only_reader(at)
        if at is None or view.role(at) != "W":
            continue
        yield Found(
            f"gamma of {norm.name} is redundant: {at.name}, which reads it, has weights of its own for every channel",
            (norm.name, at.name),
            f"{norm.cls}: {{scale: false}} learns the same functions" if norm.cls != "RMSNormalization" else "",
        )


REDUNDANT_SCALE = Rule(
    "redundant-scale",
    "info",
    "gamma directly before a linear layer can be part of that layer's weights",
    """
The next layer multiplies by its own weights: W·(gamma·x) = (W·gamma)·x, so every function with gamma can be had
without it. Keras says so of `scale`. Gamma still changes the path of the training a little, so this is a remark.
Reported where the only reader of a normalization is a weight layer, with nothing but dropout and reshaping between:
orders such as N-W-A and W-A-N.
""",
    "Keras, BatchNormalization: with a linear next layer `scale` can be disabled, the next layer does the scaling",
    """
input: {shape: [16]}
ordering: bn-before-weights
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: {policy: bn-before-weights, norm: {BatchNormalization: {scale: false}}}
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    _redundant_scale,
)


def _does_not_fold(view: View) -> Iterator[Found]:
    for norm in view.plan.layers:
        if norm.cls == "BatchNormalization" and norm.folds_into is None and norm.fold_because:
            reason = norm.fold_because.removeprefix("does not fold: ")
            yield Found(f"{norm.name} cannot be folded into a weight layer at export: {reason}", (norm.name,))


NORM_DOES_NOT_FOLD = Rule(
    "norm-does-not-fold",
    "info",
    "this batch normalization stays a layer of its own in the exported model",
    """
At inference a batch normalization is a multiplication and an addition per channel. Behind a weight layer, with
nothing but dropout between, both go into its weights: W' = gamma·W/√(v + eps), b' = gamma·(b - mu)/√(v + eps) + beta.
Before a weight layer they do too, if only dropout, Flatten and reshaping lie between, nobody else reads the
normalization, and a convolution there pads nothing. Through an activation, a branch or zero padding they do not: the
layer stays, and costs a pass over memory at inference. It matters to whom latency matters; accuracy is the same.
""",
    "Jacob et al. 2018, section 3.2 on folding (arXiv:1712.05877)",
    """
input: {shape: [8, 8, 3]}
ordering: bn-after-activation
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    """
input: {shape: [8, 8, 3]}
ordering: no-dropout
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    _does_not_fold,
)


NORM_RULES: tuple[Rule, ...] = (BIAS_BEFORE_NORM, NORM_ON_LOGITS, REDUNDANT_SCALE, NORM_DOES_NOT_FOLD)
