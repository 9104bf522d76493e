"""Losses and metrics against the heads: `from_logits` follows from the activation, contradictions are errors.

A crossentropy takes logits behind a linear head and probabilities behind softmax or sigmoid. The plan knows which of
the two the head gives, so nobody has to write `from_logits`; whoever does and is wrong is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kbuild.errors import Problem, Span, SpecError, suggest
from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.spec.train import Chosen, TrainSettings

#: Losses that take `from_logits`, and the kind of targets they read.
FAMILIES = {
    "SparseCategoricalCrossentropy": "sparse",
    "CategoricalCrossentropy": "categorical",
    "CategoricalFocalCrossentropy": "categorical",
    "BinaryCrossentropy": "binary",
    "BinaryFocalCrossentropy": "binary",
}

#: Losses that read probabilities and know no `from_logits`, and the kind of targets they read.
PROBABILITY_LOSSES = {
    "KLDivergence": "categorical",
    "CategoricalGeneralizedCrossEntropy": "sparse",
    "Dice": "other",
    "Tversky": "other",
}

#: Losses by every name Keras has for them.
_ALIASES = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "kld": "KLDivergence",
    "kl_divergence": "KLDivergence",
    "kullback_leibler_divergence": "KLDivergence",
    "logcosh": "LogCosh",
    "log_cosh": "LogCosh",
    "ctc": "CTC",
    "categorical_generalized_cross_entropy": "CategoricalGeneralizedCrossEntropy",
}

_LOGITS = {None, "linear", "log_softmax"}
_PROBABILITIES = {"softmax", "sigmoid", "hard_sigmoid"}

#: Metrics with a `from_logits` argument.
_LOGIT_METRICS = {
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "AUC",
}
#: Metrics whose thresholds are probabilities.
_THRESHOLD_METRICS = {
    "Precision",
    "Recall",
    "TruePositives",
    "TrueNegatives",
    "FalsePositives",
    "FalseNegatives",
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
}


@dataclass(frozen=True)
class Target:
    """One output and what it is trained towards.

    Attributes:
        output: the output layer's name.
        loss: the Keras loss class.
        config: its arguments, `from_logits` among them where it takes it.
        family: "sparse" (class numbers), "categorical" (one-hot rows), "binary" (0 to 1), or "other".
        activation: the Keras name of what the output has been through, None for linear.
        shape: of the output, batch axis first; None where only Keras knows.
        span: the place of the loss in the spec.
    """

    output: str
    loss: str
    config: dict[str, Any] = field(default_factory=dict)
    family: str = "other"
    activation: str | None = None
    shape: tuple[int | None, ...] | None = None
    span: Span | None = None

    @property
    def units(self) -> int | None:
        """Size of the last axis, None where unknown."""
        return self.shape[-1] if self.shape else None

    @property
    def logits(self) -> bool:
        return self.activation in _LOGITS


def resolve_losses(settings: TrainSettings, plan: Plan) -> tuple[Target, ...]:
    """One `Target` per output of the plan, in the order of the outputs.

    Raises:
        SpecError: loss-activation-mismatch; unknown-reference for a loss of no output; missing-key for an output
            without a loss.
    """
    problems: list[Problem] = []
    by_output = _by_output(settings.loss, "loss", plan, problems)
    targets = []
    for output in plan.outputs:
        chosen = by_output.get(output, [])
        if chosen:
            targets.append(_target(chosen[0], output, plan, problems))
        elif not problems:
            hint = f"write `loss: {{{', '.join(f'{name}: ...' for name in plan.outputs)}}}`"
            problems.append(Problem("missing-key", f"the output {output!r} has no loss", settings.place("loss"), hint))
    if problems:
        raise SpecError(problems)
    return tuple(targets)


def resolve_metrics(
    settings: TrainSettings, plan: Plan, targets: Iterable[Target], key: str = "metrics"
) -> dict[str, list[Chosen]]:
    """Output → its metrics, thresholds and `from_logits` fitted to the head.

    `key` is `metrics` or `weighted_metrics`.

    `accuracy` is Keras' own choice by shapes, with one exception: behind a single logit its threshold is 0, not 0.5.

    Raises:
        SpecError: a metric that needs probabilities behind a linear head.
    """
    problems: list[Problem] = []
    by_output = _by_output(getattr(settings, key), key, plan, problems)
    fitted = {t.output: [_metric(chosen, t, problems) for chosen in by_output.get(t.output, [])] for t in targets}
    if problems:
        raise SpecError(problems)
    return fitted


def output_activation(plan: Plan, output: str) -> str | None:
    """Keras name of the last activation on the way to `output`, None for linear.

    Follows the output backwards to its head, so that a softmax written as a layer of its own counts too.
    """
    stops = set(plan.heads.get(output, ()))
    layer: PlannedLayer | None = plan.layer(output)
    while layer is not None:
        name = _activation_of(layer)
        if name is not None:
            return None if name == "linear" else name
        if layer.name in stops or layer.role == "W" or len(layer.inputs) != 1:
            break
        layer = plan.layer(layer.inputs[0])
    if layer is not None and len(layer.inputs) > 1 and layer.role != "W":
        names = {output_activation(plan, name) for name in layer.inputs}
        return names.pop() if len(names) == 1 else "merged"
    return None


def _activation_of(layer: PlannedLayer) -> str | None:
    if layer.cls == "Softmax":
        return "softmax"
    value = layer.config.get("activation") if layer.cls == "Activation" or layer.role == "W" else None
    if isinstance(value, dict):
        value = value.get("class_name")
    if value is None and layer.role == "A":
        value = _snake(layer.cls)
    return _snake(value) if isinstance(value, str) else None


def _snake(name: str) -> str:
    """`HardSigmoid` → `hard_sigmoid`; names already in lower case stay."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _by_output(chosen: Iterable[Chosen], key: str, plan: Plan, problems: list[Problem]) -> dict[str, list[Chosen]]:
    found: dict[str, list[Chosen]] = {}
    for one in chosen:
        output = one.target
        if output is None and len(plan.outputs) > 1:
            names = ", ".join(plan.outputs)
            hint = f"write one for each: `{key}: {{{plan.outputs[0]}: ..., ...}}`"
            problems.append(Problem("missing-key", f"the model has the outputs {names}", one.span, hint))
            return {}
        output = output or plan.outputs[0]
        named = plan.output_named(output)
        if named is None:
            hint = suggest(output, plan.outputs) or f"outputs: {', '.join(plan.outputs)}"
            problems.append(Problem("unknown-reference", f"the model has no output {output!r}", one.span, hint))
        else:
            found.setdefault(named, []).append(one)
    return found


def canonical(name: str) -> str:
    """The Keras class of a loss by any of its names.

    >>> canonical("sparse_categorical_crossentropy"), canonical("mse")
    ('SparseCategoricalCrossentropy', 'MeanSquaredError')
    """
    if name.lower() in _ALIASES:
        return _ALIASES[name.lower()]
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) if name.islower() else name


def _target(chosen: Chosen, output: str, plan: Plan, problems: list[Problem]) -> Target:
    name, config = canonical(chosen.class_name), dict(chosen.config)
    activation, shape = output_activation(plan, output), plan.layer(output).output_shape
    family = FAMILIES.get(name) or PROBABILITY_LOSSES.get(name, "other")
    units = shape[-1] if shape else None

    def mismatch(message: str, hint: str) -> None:
        problems.append(Problem("loss-activation-mismatch", message, chosen.span, hint))

    shown = "linear" if activation is None else activation
    if activation == "softmax" and units == 1:
        mismatch(
            f"the head of {output!r} is a softmax over one unit, which is always 1",
            "use sigmoid with binary_crossentropy, or one unit per class",
        )
    elif family in ("sparse", "categorical") and name != "KLDivergence" and units == 1:
        mismatch(
            f"{name} on {output!r}, which has one unit: its loss is always 0",
            "use binary_crossentropy, or one unit per class",
        )
    elif name in FAMILIES:
        given = config.get("from_logits")
        if activation in _LOGITS:
            if given is False and activation != "log_softmax":
                mismatch(
                    f"{name} has from_logits: false, but {output!r} gives logits (its head is linear)",
                    "leave `from_logits` out, or give the head an activation",
                )
            config["from_logits"] = True
        elif activation in _PROBABILITIES:
            if given is True:
                mismatch(
                    f"{name} has from_logits: true, but {output!r} gives probabilities ({shown})",
                    "leave `from_logits` out, or drop the head's activation",
                )
            config["from_logits"] = False
        elif activation == "merged":
            if given is None:
                mismatch(
                    f"{output!r} merges several heads; {name} cannot tell whether it gives logits",
                    "write `from_logits` yourself",
                )
        else:
            mismatch(
                f"{name} needs logits or probabilities, but the head of {output!r} ends in {shown}",
                "use a linear head, softmax or sigmoid",
            )
    elif name in PROBABILITY_LOSSES and activation in _LOGITS:
        mismatch(
            f"{name} needs probabilities, but {output!r} gives logits (its head is {shown})",
            "give the head an activation: softmax or sigmoid",
        )
    return Target(output, name, config, family, activation, shape, chosen.span)


def _metric(chosen: Chosen, target: Target, problems: list[Problem]) -> Chosen:
    name, config = chosen.class_name, dict(chosen.config)
    if not target.logits or target.family == "other":
        return chosen
    single = target.family == "binary" and target.units == 1
    if name.lower() in ("accuracy", "acc") and single and not config:
        return Chosen("BinaryAccuracy", {"name": "accuracy", "threshold": 0.0}, chosen.span, chosen.target)
    if canonical(name) == "BinaryAccuracy":
        config.setdefault("threshold", 0.0)
        config.setdefault("name", "binary_accuracy")
        return Chosen("BinaryAccuracy", config, chosen.span, chosen.target)
    if canonical(name) in _LOGIT_METRICS or name in _LOGIT_METRICS:
        if config.get("from_logits") is False:
            message = f"the metric {name} has from_logits: false, but {target.output!r} gives logits"
            problems.append(Problem("loss-activation-mismatch", message, chosen.span, "leave `from_logits` out"))
        config["from_logits"] = True
        return Chosen(name if name in _LOGIT_METRICS else canonical(name), config, chosen.span, chosen.target)
    if name in _THRESHOLD_METRICS:
        message = f"the metric {name} has thresholds between 0 and 1, but {target.output!r} gives logits"
        hint = "give the head `activation: sigmoid`"
        problems.append(Problem("loss-activation-mismatch", message, chosen.span, hint))
    return chosen
