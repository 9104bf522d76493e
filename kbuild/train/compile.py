"""Settings + model → a compiled Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kbuild.errors import Problem, SpecError
from kbuild.model.backend import import_keras
from kbuild.plan.losses import Target, resolve_metrics
from kbuild.plan.plan import Plan
from kbuild.spec.train import Chosen, TrainSettings
from kbuild.train.failures import first_reason
from kbuild.train.fused import fuse_adam
from kbuild.train.objects import make_augment, make_loss, make_metric, make_optimizer

#: Arguments whose updates Keras makes under a condition, in which TensorFlow's replicas cannot meet.
ALONE = ("gradient_accumulation_steps", "ema_overwrite_frequency")

#: Variables that weight decay leaves alone, by what their names hold.
UNDECAYED = ("gamma", "beta", "bias")


def compile_model(model: Any, settings: TrainSettings, plan: Plan, targets: Sequence[Target]) -> None:
    """`model.compile` with the spec's optimizer, losses and metrics. XLA stays off.

    Raises:
        SpecError: Keras refuses an argument.
    """
    losses = [make_loss(t.loss, t.config, Chosen(t.loss, t.config, t.span)) for t in targets]
    metrics = {
        key: [[make_metric(chosen) for chosen in by_output[t.output]] for t in targets]
        for key in ("metrics", "weighted_metrics")
        for by_output in (resolve_metrics(settings, plan, targets, key),)
    }
    one = len(targets) == 1
    optimizer = make_optimizer(settings.optimizer)
    if settings.decay == "weights":
        spare_from_decay(optimizer)
    try:
        model.compile(
            optimizer=optimizer,
            loss=losses[0] if one else losses,
            **{key: made[0] if one else made for key, made in metrics.items() if any(made)},
            jit_compile=False,
        )
    except (TypeError, ValueError) as error:
        message = f"Keras refuses the training settings: {str(error).strip()[:300]}"
        raise SpecError([Problem("wrong-type", message, settings.span)]) from error
    if replicated():
        clip_the_sum(optimizer)
    else:
        fuse_adam(optimizer)


def replicated() -> bool:
    """Whether variables made now are copied to several replicas; their updates are Keras' own."""
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())


def clip_the_sum(optimizer: Any) -> None:
    """Let gradients be clipped when they are summed over the replicas.

    Keras clips the part of each replica before, so that n of them train with a bound up to n times as large.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    clip, total = inner._clip_gradients, inner._all_reduce_sum_gradients

    def clipped(pairs: Any) -> Any:
        gradients, variables = zip(*total(pairs), strict=True)
        return list(zip(clip(list(gradients)), variables, strict=True))

    inner._clip_gradients, inner._all_reduce_sum_gradients = lambda gradients: gradients, clipped


def spare_from_decay(optimizer: Any) -> None:
    """Let weight decay act on weights alone, not on γ, β and biases (He et al. 2019, Bag of Tricks, section 3.1)."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.weight_decay is not None:
        inner.exclude_from_weight_decay(var_names=list(UNDECAYED))


def set_precision(name: str) -> str:
    """Make `name` the dtype policy of layers built from now on; return the one before."""
    keras: Any = import_keras()
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(name)
    return str(before)


def set_determinism(on: bool) -> None:
    """Let TensorFlow use deterministic kernels only; it cannot be taken back within a process."""
    if on:
        import_keras()
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def check_optimizer(settings: TrainSettings) -> None:
    """Some arguments of optimizers work on one device alone.

    Raises:
        SpecError: one of `ALONE` with a strategy.
    """
    found = [name for name in ALONE if settings.strategy is not None and settings.optimizer.config.get(name)]
    if found:
        message = f"Keras' `{found[0]}` does not work on replicas, and this is trained with {settings.strategy}"
        raise SpecError([Problem("not-yet", message, settings.optimizer.span, "leave it out, or `--strategy none`")])


def check_class_weight(settings: TrainSettings, targets: Sequence[Target]) -> None:
    """`class_weight` needs one output with class labels.

    Raises:
        SpecError: several outputs, no classes, or a class beyond the head's units.
    """
    if settings.class_weight is None:
        return
    span = settings.place("class_weight")
    if len(targets) != 1 or targets[0].family not in ("sparse", "categorical", "binary"):
        raise SpecError([Problem("not-yet", "`class_weight` needs one output and a loss over classes", span)])
    target = targets[0]
    if (target.family == "binary" and target.units != 1) or (target.shape is not None and len(target.shape) != 2):
        raise SpecError([Problem("not-yet", "`class_weight` needs one label per example", span)])
    classes = 2 if target.family == "binary" else target.units
    beyond = [label for label in settings.class_weight if classes is not None and label >= classes]
    if beyond and classes is not None:
        message = f"`class_weight` names the class {beyond[0]}, but there are {classes}: 0 to {classes - 1}"
        raise SpecError([Problem("data", message, span)])


def check_augment(settings: TrainSettings, plan: Plan) -> None:
    """`augment` needs one input, and layers that take it and leave its shape as it is.

    Raises:
        SpecError: several inputs, a layer that refuses them or gives another shape.
    """
    if not settings.augment:
        return
    if len(plan.inputs) != 1:
        raise SpecError([Problem("not-yet", "`augment` needs a model with one input", settings.place("augment"))])
    keras: Any = import_keras()
    shape = plan.inputs[0].output_shape or ()
    one = (1, *(size or 8 for size in shape[1:]))
    for chosen, layer in zip(settings.augment, make_augment(settings.augment, 0), strict=True):
        try:
            found = layer(keras.ops.zeros(one), training=True).shape  # what is symbolic would not be looked at
        except Exception as error:
            reason = first_reason(str(error))
            message = f"{chosen.class_name} of `augment` refuses inputs of the shape {list(shape[1:])}: {reason}"
            raise SpecError([Problem("shape", message, chosen.span)]) from error
        if tuple(found) != one:
            message = (
                f"{chosen.class_name} of `augment` makes {list(found[1:])} of inputs of the shape {list(shape[1:])}"
            )
            hint = "validation and prediction do not go through it; a layer of the model changes the shape for all"
            raise SpecError([Problem("shape", message, chosen.span, hint)])
