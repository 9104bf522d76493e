"""Settings + data + plan → what a training starts from: all checked, then the compiled model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from kbuild.errors import Problem, Span, SpecError
from kbuild.plan.losses import Target, resolve_losses, resolve_metrics
from kbuild.plan.plan import Plan
from kbuild.plan.sameness import model_form, plain
from kbuild.spec.model import Spec
from kbuild.spec.strategy import parse_strategy
from kbuild.spec.train import TrainSettings
from kbuild.train.data.arrays import Data
from kbuild.train.data.load import load_data
from kbuild.train.strategy import ONE, Replicas


def train_settings(
    spec: Spec,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    strategy: str | None = None,
) -> TrainSettings:
    """The spec's `train` section with the command line's values over it.

    Raises:
        SpecError: the spec has no `train` section, or a value is out of range.
    """
    if spec.train is None:
        hint = "for example `train: {data: digits, loss: sparse_categorical_crossentropy}`"
        place = Span(spec.source, 1, 1)
        raise SpecError([Problem("missing-key", "this spec has no `train` section, which training needs", place, hint)])
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    problems = [
        Problem("override", f"--{name.replace('_', '-')} must be a whole number from {0 if name == 'seed' else 1}")
        for name, value in given.items()
        if value is not None and value < (0 if name == "seed" else 1)
    ]
    changes: dict[str, Any] = {**given, "deterministic": deterministic}
    changes = {name: value for name, value in changes.items() if value is not None}
    if strategy is not None:
        try:
            changes["strategy"] = parse_strategy(strategy)
        except ValueError as error:
            problems.append(Problem("override", f"--strategy: {error}"))
    if problems:
        raise SpecError(problems)
    return replace(spec.train, **changes)


@dataclass(frozen=True)
class Prepared:
    """All that is checked before a model is built."""

    settings: TrainSettings
    targets: tuple[Target, ...]
    data: Data


def prepare(spec: Spec, plan: Plan, settings: TrainSettings) -> Prepared:
    """Fit losses to heads and data to the plan, before TensorFlow is needed.

    Raises:
        SpecError: a loss against its head, or data against the plan.
    """
    targets = check(settings, plan)
    return Prepared(settings, targets, load_data(settings, plan, targets, spec.folder, settings.seed))


def check(settings: TrainSettings, plan: Plan) -> tuple[Target, ...]:
    """What can be checked without data; the losses, fitted to their heads.

    Raises:
        SpecError: a setting against the plan, such as a loss against its head.
    """
    from kbuild.train.compile import check_augment, check_class_weight, check_optimizer
    from kbuild.train.objects import check_callbacks

    targets = resolve_losses(settings, plan)
    resolve_metrics(settings, plan, targets)
    resolve_metrics(settings, plan, targets, "weighted_metrics")
    check_optimizer(settings)
    check_class_weight(settings, targets)
    check_augment(settings, plan)
    check_callbacks(settings.callbacks)
    return targets


def build(prepared: Prepared, plan: Plan, replicas: Replicas = ONE) -> Any:
    """The compiled Keras model of a plan, on the spec's seed and precision, with a copy on every replica.

    Layers that learn from data before the first step have done so.

    Raises:
        InputError: another worker trains something else.
    """
    from kbuild.model.backend import import_keras
    from kbuild.model.lower import build_model
    from kbuild.train.adapt import adapt
    from kbuild.train.compile import compile_model, set_determinism, set_precision

    settings = prepared.settings
    if replicas.workers > 1:
        replicas.check_alike(_facts(prepared, plan))
    keras = import_keras()
    keras.utils.set_random_seed(settings.seed)
    set_determinism(settings.deterministic)
    before = set_precision(settings.precision)
    try:
        with replicas.scope():
            model = build_model(plan, settings.seed)
            adapt(model, prepared.data.train)
            compile_model(model, settings, plan, prepared.targets)
    finally:
        set_precision(before)
    return model


def _facts(prepared: Prepared, plan: Plan) -> dict[str, int]:
    """What all workers have in common, in numbers; where their data are may differ."""
    settings, data = prepared.settings, prepared.data
    training = {name: value for name, value in plain(settings).items() if name not in ("data", "validation")}
    ends = [data.train.read(slice(*place)) for place in ((0, 1), (-1, None))]
    rows = [[name, values.tolist()] for end in ends for side in end.sides.values() for name, values in side.items()]
    return {
        "the model": _number(model_form(plan)),
        "the settings": _number([training, settings.seed]),
        "the rows to train on": data.train.rows,
        "the rows to validate on": data.validation.rows if data.validation else 0,
        "what the first or the last row to train on holds": _number(rows),
    }


def _number(value: Any) -> int:
    return crc32(json.dumps(value, sort_keys=True, default=str).encode())


def make_loop(model: Any, prepared: Prepared, replicas: Replicas = ONE) -> Any:
    """The `kbuild.train.loop.Loop` that trains a built model on its data.

    Raises:
        InputError: a callback watches what the training does not measure.
    """
    from kbuild.train.loop import Loop
    from kbuild.train.objects import make_augment
    from kbuild.train.trainer import check_monitors

    settings, data = prepared.settings, prepared.data
    with replicas.scope():
        augment = make_augment(settings.augment, settings.seed)
    loop = Loop(model, data.train, settings.batch_size, augment, settings.class_weight, replicas)
    check_monitors(settings, loop, data.validation is not None)  # reading metrics takes all workers
    return loop


def build_from(trained: Any, prepared: Prepared, plan: Plan) -> Any:
    """A model of one copy with the values of a trained one."""
    model = build(prepared, plan)
    for variable, value in zip(model.variables, trained.variables, strict=True):
        variable.assign(value.numpy())
    return model
