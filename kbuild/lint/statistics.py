"""Rules about normalization in training: batch size, moving statistics, weight decay. They need a `train` section."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from kbuild.lint.finding import Found, Rule
from kbuild.lint.view import Layer, View, full_config

#: Below this batch size the statistics of a batch are noise.
SMALLEST_BATCH = 16
#: Moving statistics count as converged after this many time constants 1/(1 - momentum): e^-5 is 0.7 %.
TIME_CONSTANTS = 5


def _small_batch(view: View) -> Iterator[Found]:
    norms = [layer.name for layer in view.batch_norms]
    if view.training is None or not norms:
        return
    size = view.training.settings.batch_size
    if size < SMALLEST_BATCH:
        they = "batch normalizations take" if len(norms) > 1 else "batch normalization takes"
        yield Found(
            f"{len(norms)} {they} statistics over batches of {size}",
            tuple(norms),
            "norm: GroupNormalization does not depend on the batch size; or a batch_size of 16 and more",
            view.training.settings.place("batch_size"),
        )


SMALL_BATCH_NORM = Rule(
    "small-batch-norm",
    "warning",
    "batch normalization with batches below 16",
    """
The mean and variance of a small batch are noisy estimates, and the noise is in every activation. For ResNet-50 on
ImageNet Wu and He measured 23.6, 23.7, 24.8, 27.3 and 34.7 % error with 32, 16, 8, 4 and 2 images per GPU; with group
normalization 24.1 % throughout (24.0 to 24.2). Frozen batch normalizations (`trainable: false`) use the statistics
they have and are not reported.
""",
    "Wu & He 2018, Group Normalization, table 2 (arXiv:1803.08494)",
    """
input: {shape: [16]}
ordering: W-N-A
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
train: {data: digits, loss: sparse_categorical_crossentropy, batch_size: 4, epochs: 20}
""",
    """
input: {shape: [16]}
ordering: W-N-A
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
train: {data: digits, loss: sparse_categorical_crossentropy, batch_size: 32, epochs: 20}
""",
    _small_batch,
)


def starting_share(momentum: float, steps: int) -> float:
    """How much of their starting values moving statistics hold after so many steps."""
    return momentum**steps


def converged(momentum: float, steps: int) -> bool:
    """Whether moving statistics have had TIME_CONSTANTS time constants of 1/(1 - momentum) steps."""
    return steps * (1 - momentum) >= TIME_CONSTANTS * (1 - 1e-9)


def _unconverged(view: View) -> Iterator[Found]:
    steps = view.training.steps if view.training else None
    if view.training is None or steps is None:
        return
    by_momentum: dict[float, list[Layer]] = {}
    for layer in view.batch_norms:
        momentum = float(full_config(layer).get("momentum", 0.99))
        if not converged(momentum, steps):
            by_momentum.setdefault(momentum, []).append(layer)
    for momentum, layers in by_momentum.items():
        needed = math.ceil(round(TIME_CONSTANTS / (1 - momentum), 6)) if momentum < 1 else None
        fitting = math.floor((1 - TIME_CONSTANTS / steps) * 100) / 100 if steps > TIME_CONSTANTS else 0
        hint = f"momentum {fitting:g} fits {steps} steps" if fitting > 0 else "train longer"
        held = f"{starting_share(momentum, steps):.0%}"
        yield Found(
            f"after {steps} steps the moving statistics of {_some(layers)} still hold {held} of "
            f"their starting values (momentum {momentum:g}" + (f", {needed} steps needed)" if needed else ")"),
            tuple(layer.name for layer in layers),
            hint,
            view.training.settings.place("epochs"),
        )


def _some(layers: list[Layer]) -> str:
    rest = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return layers[0].name + rest


NORM_STATISTICS_UNCONVERGED = Rule(
    "norm-statistics-unconverged",
    "warning",
    "the training is too short for the moving statistics of batch normalization",
    """
Inference uses moving averages of mean and variance. After k steps they still hold momentum^k of their starting
values, 0 and 1. At Keras' default momentum 0.99 that is 61 % after 50 steps, 8 % after 250, and 0.7 % after 500.
Below 5/(1 - momentum) steps the model is evaluated with statistics that are not those of the data: training looks
fine, validation does not. Steps are epochs × batches per epoch; kbuild reads the number of examples from the header
of the data's file.
""",
    "Keras, BatchNormalization: moving_mean = moving_mean * momentum + mean(batch) * (1 - momentum)",
    """
input: {shape: [16]}
ordering: W-N-A
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
train: {data: digits, loss: sparse_categorical_crossentropy, batch_size: 128, epochs: 5}
""",
    """
input: {shape: [16]}
ordering: {order: W-N-A, norm: {BatchNormalization: {momentum: 0.9}}}
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
train: {data: digits, loss: sparse_categorical_crossentropy, batch_size: 128, epochs: 5}
""",
    _unconverged,
)


def _decayed(view: View) -> Iterator[Found]:
    trained = [norm for norm in view.of("N") if norm.config.get("trainable") is not False]
    scaled = [norm for norm in trained if {"scale", "center"}.intersection(_learned(norm))]
    for norm in scaled:
        names = [name for name in ("gamma", "beta") if _regularized(norm.config.get(f"{name}_regularizer"))]
        if names:
            arguments = " and ".join(f"{name}_regularizer" for name in names)
            message = f"weight decay on {' and '.join(names)} of {norm.name}"
            yield Found(message, (norm.name,), f"leave {arguments} out, and keep it on the kernels")
    if view.training is not None and view.training.weight_decay and scaled:
        optimizer, decay = view.training.settings.optimizer, view.training.weight_decay
        written = "" if "weight_decay" in optimizer.config else f" ({optimizer.class_name}'s default)"
        yield Found(
            f"weight_decay {decay:g}{written} of {optimizer.class_name} shrinks gamma and beta of {_some(scaled)} too",
            tuple(norm.name for norm in scaled),
            "kernel_regularizer: L2 decays the kernels alone",
            optimizer.span or view.training.settings.span,
        )


def _learned(norm: Layer) -> tuple[str, ...]:
    config = full_config(norm)
    return tuple(name for name in ("scale", "center") if config.get(name, norm.cls == "RMSNormalization"))


def _regularized(value: Any) -> bool:
    name = value.get("class_name") if isinstance(value, dict) else value
    return isinstance(name, str) and name.lower() in ("l2", "l1l2", "l1_l2", "l1")


WEIGHT_DECAY_ON_NORM = Rule(
    "weight-decay-on-norm",
    "info",
    "weight decay on gamma or beta of a normalization",
    """
Decay on the kernels before a normalization acts through the effective learning rate, for their scale is divided out.
Gamma and beta are not normalized by anything: decay pulls gamma to 0 and, from there on, the output of the layer to a
constant. He et al. 2019 leave gamma, beta and biases out of the decay for their ImageNet recipe. The decay of an
optimizer (AdamW has 0.004 by default) reaches every trainable weight, these too. It is small beside the gradient in
most trainings: a remark.
""",
    "He et al. 2019, Bag of Tricks, section 3.1 (arXiv:1812.01187); van Laarhoven 2017 (arXiv:1706.05350)",
    """
input: {shape: [16]}
ordering: {order: W-N-A, norm: {BatchNormalization: {gamma_regularizer: {L2: 0.0001}}}}
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: W-N-A
layers:
  - Dense: {units: 32, activation: relu, kernel_regularizer: {L2: 0.0001}}
  - Dense: 10
""",
    _decayed,
)


STATISTICS_RULES: tuple[Rule, ...] = (SMALL_BATCH_NORM, NORM_STATISTICS_UNCONVERGED, WEIGHT_DECAY_ON_NORM)
