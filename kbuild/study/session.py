"""One arm in one process: its model built and traced once, its variables made anew for every seed.

Tracing a small CNN takes longer than ten epochs of `digits`. A graph holds no seed: initial weights, the optimizer's
state, metrics and the states of seed generators are variables, and so are the examples here. For another seed a second
model is built (not traced) the way a fresh process builds it, and its values are copied over: the same bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from kbuild.diagnose.statistics import recalibrate
from kbuild.errors import SpecError
from kbuild.plan.losses import resolve_losses, resolve_metrics
from kbuild.plan.plan import Plan
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings
from kbuild.study.design import NotMeasured, Trial, check_measured
from kbuild.study.examples import Shelf
from kbuild.study.record import Record, failed
from kbuild.study.shift import shift_meter
from kbuild.train.adapt import learners
from kbuild.train.data.arrays import Data, Named, Split
from kbuild.train.data.load import split_validation
from kbuild.train.failures import Diverged, OutOfMemory
from kbuild.train.loop import Loop
from kbuild.train.objects import make_augment, make_callbacks
from kbuild.train.prepare import Prepared, build
from kbuild.train.trainer import Trainer, check_monitors

#: Callbacks that only write files, which a trial does not keep.
WRITING = ("CSVLogger", "ModelCheckpoint", "TensorBoard")


class RefillableLoop(Loop):
    """A loop whose resident examples are variables, so that another split of the same size needs no new trace."""

    def resident(self, arrays: Named) -> dict[str, Any]:
        held = {name: self.tf.Variable(array, trainable=False) for name, array in arrays.items()}
        self.__dict__.setdefault("_variables", {})[id(arrays)] = held
        return held

    def fill(self, place: Split | None, values: Split | None) -> None:
        """Put other examples where those of `place`, a split this loop has met, are."""
        if place is None or values is None:
            return
        for (key, _), stream in self._streams.items():
            if key == id(place):
                stream.split = values
        held: dict[int, dict[str, Any]] = self.__dict__.get("_variables", {})
        for side, old in place.sides.items():
            for name, variable in held.get(id(old), {}).items():
                variable.assign(values.sides[side][name])


class Session:
    """Trains an arm with one seed after another.

    Args:
        spec, plan: of the arm.
        settings: with the study's epochs and batch size.
        shelf: where the examples are, or will be.
        metric: what decides, if anything does.
    """

    def __init__(
        self, spec: Spec, plan: Plan, settings: TrainSettings, shelf: Shelf | None = None, metric: str | None = None
    ):
        self.plan, self.settings, self.metric = plan, settings, metric
        self.targets = resolve_losses(settings, plan)
        resolve_metrics(settings, plan, self.targets)
        self.unsplit = (shelf or Shelf()).take(settings, plan, self.targets, spec.folder)
        self._loop: RefillableLoop | None = None

    def run(self, trial: Trial) -> Record:
        """Train and evaluate; a failure is a record too.

        Raises:
            NotMeasured: the metric, or what a callback watches, is not measured.
            KbuildError: the spec or the data are wrong, which no other seed will mend.
        """
        import tensorflow as tf

        begun, first = time.perf_counter(), self._loop is None
        try:
            record = self._train(trial)
        except Diverged as error:
            # What broke off is what this seed gives: the model is made anew for the next one.
            return replace(failed(trial, "diverged", str(error), _since(begun)), **self._so_far())
        except (OutOfMemory, MemoryError, tf.errors.ResourceExhaustedError) as error:
            self._loop = None
            return failed(trial, "memory", _memory_words(error), _since(begun))
        return replace(record, seconds=_since(begun), first=first)

    def _so_far(self) -> dict[str, Any]:
        history = _columns(self._trainer.progress.history)
        return {"history": history, "epochs": len(self._trainer.progress.history)}

    def _train(self, trial: Trial) -> Record:
        settings = replace(self.settings, seed=trial.seed)
        data = split_validation(self.unsplit, settings, self.targets, trial.seed)
        loop = self._ready(settings, data)
        callbacks = make_callbacks([c for c in settings.callbacks if c.class_name not in WRITING], None)
        times = [time.perf_counter()]
        self._trainer = Trainer(
            loop,
            self._places,
            callbacks,
            settings.epochs,
            trial.seed,
            settings.shuffle,
            on_epoch=lambda _: times.append(time.perf_counter()),
        )
        progress = self._trainer.run()
        if settings.recalibrate:
            recalibrate(loop.model, data.train.x)
        measured = {"val_": self._places.validation, "test_": self._places.test}
        metrics = {
            prefix + name: value
            for prefix, split in measured.items() if split is not None
            for name, value in loop.evaluate(split).items()
        }  # fmt: skip
        return Record(
            trial.id,
            trial.arm,
            trial.seed,
            epochs=progress.epoch,
            metrics=metrics,
            history=_columns(progress.history),
            per_epoch=_per_epoch(times),
            shift=self._shift(data.train.x),
        )

    def _ready(self, settings: TrainSettings, data: Data) -> Loop:
        """The loop, in the state in which a fresh process would have it for this seed and these data."""
        fresh = build(Prepared(settings, self.targets, data), self.plan)
        augment = make_augment(settings.augment, settings.seed)
        loop = self._loop
        if loop is None or loop.rows != data.train.rows or learners(fresh):
            loop = RefillableLoop(fresh, data.train, settings.batch_size, augment, settings.class_weight)
            self._check_names(loop, data)
            self._loop, self._places, self._shift = loop, data, shift_meter(loop.model)
            self._measures = _values(fresh.metrics_variables)
            return loop
        tf = loop.tf
        fresh.optimizer.build(fresh.trainable_variables)
        sample = data.train.read(slice(1)).x
        for layer in augment:  # as the loop does when it is made: their variables, and their states after one call
            layer(tf.cast(tf.constant(next(iter(sample.values()))), "float32"), training=True)
        _assign(loop.model.variables, fresh.variables)
        _assign(loop.model.optimizer.variables, fresh.optimizer.variables)
        _assign(loop.variables, [variable for layer in augment for variable in layer.variables])
        _assign(loop.model.metrics_variables, self._measures)
        loop.fill(self._places.train, data.train)
        if data.validation is not self.unsplit.validation:
            loop.fill(self._places.validation, data.validation)
        return loop

    def _check_names(self, loop: Loop, data: Data) -> None:
        """What the question names has to be measured; before anything is trained, for training takes its time.

        Raises:
            NotMeasured: the deciding metric is not, or what a callback watches.
        """
        try:
            check_monitors(self.settings, loop, data.validation is not None)
        except SpecError as error:
            raise NotMeasured(str(error)) from error
        if self.metric is not None and data.validation is not None:
            check_measured(self.metric, [f"val_{name}" for name in loop.metrics()])

    @property
    def variables(self) -> list[np.ndarray]:
        """Values of all variables of the model and of its optimizer, for comparison."""
        assert self._loop is not None
        model = self._loop.model
        return _values([*model.variables, *model.optimizer.variables])


def _memory_words(error: Exception) -> str:
    """What there was no memory for.

    >>> _memory_words(MemoryError("{{node x}} OOM when allocating tensor with shape[9,4] on /job:localhost by cpu"))
    'out of memory when allocating tensor with shape[9,4]'
    """
    if isinstance(error, OutOfMemory):
        return str(error)
    told = re.search(r"OOM (when .*?)( on /job|$)", str(error), re.MULTILINE)
    return f"out of memory {told[1]}" if told else "out of memory"


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 3)


def _per_epoch(times: list[float]) -> float:
    """Seconds of an epoch, from the start and the end of each; the first is left out where there are others."""
    since = times[1:] if len(times) > 2 else times
    return round((since[-1] - since[0]) / max(len(since) - 1, 1), 4)


def _values(variables: Iterable[Any]) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    for variable, value in zip(list(variables), list(values), strict=True):
        variable.assign(value)


def _columns(history: list[dict[str, float]]) -> dict[str, list[float]]:
    """One mapping per epoch as one list per name; only validation values, what a study looks at, and the loss."""
    kept = [name for name in (history[0] if history else ()) if name.startswith("val_") or name == "loss"]
    return {name: [row[name] for row in history] for name in kept}
