"""Epochs: callbacks, validation, history, the best model, checkpoints, interruption."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, SpecError, suggest
from kbuild.files import naming_any_failure
from kbuild.model.backend import import_keras
from kbuild.spec.train import CheckpointEvery, TrainSettings
from kbuild.train import progress as display
from kbuild.train.checkpoint import Progress, capture, has_state, load_last
from kbuild.train.data.arrays import Data
from kbuild.train.failures import Diverged, NonFinite
from kbuild.train.interrupt import Interrupted, StopSignal
from kbuild.train.loop import Chunks, Loop, flat, permutation
from kbuild.train.rundir import LAST
from kbuild.train.saver import Saver

_KEPT = "a checkpoint is written, --resume goes on from it"

#: Callbacks that hook into batches but need no single steps here.
_CHUNK_SAFE = ("TerminateOnNaN", "TensorBoard", "SwapEMAWeights")


@dataclass
class Trainer:
    """Trains a compiled model for a number of epochs.

    Attributes:
        loop: of the compiled model, with the training data.
        callbacks: Keras callbacks.
        checkpoints: the directory for `last/` and `best.keras`; None keeps nothing.
        on_epoch: called with the history after every epoch.
        on_resume: called with what a resumed training goes on from, and with a note on a state that was damaged.
        seed, shuffle: the order of the data is a function of (seed, epoch).
        checkpoint_every: states within an epoch; at the end of epochs they are written in any case.
    """

    loop: Loop
    data: Data
    callbacks: list[Any]
    epochs: int
    seed: int = 0
    shuffle: bool = True
    checkpoints: Path | None = None
    shown: display.Silent = field(default_factory=display.Silent)
    on_epoch: Callable[[list[dict[str, float]]], None] = lambda history: None
    on_resume: Callable[[Progress, str], None] = lambda progress, note: None
    checkpoint_every: CheckpointEvery = field(default_factory=CheckpointEvery)

    def __post_init__(self) -> None:
        self.progress = Progress()
        writes = self.checkpoints is not None and self.loop.replicas.chief
        self._saver = Saver(self.checkpoints, self.loop.model) if self.checkpoints and writes else None
        self._saved_at = time.perf_counter()
        self._list: Any = None

    @property
    def _alone(self) -> bool:
        """Whether no other worker trains with this one: metrics are spread over all, and reading them takes all.

        So with several of them a state belongs to the end of an epoch.
        """
        return self.loop.replicas.workers == 1

    @property
    def watched(self) -> str:
        """The value whose minimum makes the best epoch."""
        return "val_loss" if self.data.validation else "loss"

    def run(self, resume: bool = False) -> Progress:
        """Train to the last epoch or until a callback stops.

        Args:
            resume: go on from `checkpoints/last`; from the beginning where nothing is there yet.

        Raises:
            Diverged: NaN or infinite loss.
            Damaged: no state can be read.
            TrainingError: out of memory, a full disk, a file that cannot be read or written.
            Interrupted: Ctrl-C or SIGTERM; a checkpoint is written.
        """
        keras: Any = import_keras()
        model = self.loop.model
        model.stop_training = False
        single = any(_acts_on_batches(callback) for callback in self.callbacks)
        self._list = keras.callbacks.CallbackList(
            self.callbacks, add_history=True, add_progbar=False, model=model, epochs=self.epochs, steps=self.loop.steps
        )
        self._batches = single
        self.shown.start(self.epochs, self.loop.steps)
        try:
            with StopSignal() as stop, naming_any_failure():
                self._list.on_train_begin()
                if resume:
                    self._restore()
                logs = self._epochs(stop)
                self._save(final=True)  # before callbacks put back best weights: a longer training goes on from here
                if stop.requested:
                    raise Interrupted(f"interrupted after the last epoch; {_KEPT}")
                model.optimizer.finalize_variable_values(model.trainable_weights)
                self._list.on_train_end(logs)
        except BaseException:
            with suppress(Exception):  # let callbacks close their files; the first error is the one to tell
                self._list.on_train_end()
            raise
        finally:
            if self._saver:
                self._saver.close()
            self.shown.close()
        return self.progress

    def _restore(self) -> None:
        assert self.checkpoints is not None
        state = self.checkpoints / LAST
        if not has_state(state):
            return
        self.progress, note = load_last(state, self.loop.model, self.callbacks, self.loop.variables)
        if self._saver and self.progress.best_weights is not None:
            self._saver.note_best(self.progress.best_weights)
        self.on_resume(self.progress, note)

    def _epochs(self, stop: StopSignal) -> dict[str, float] | None:
        logs: dict[str, float] | None = None
        chunks = self.loop.chunks(self._batches)
        while self.progress.epoch < self.epochs and not self.progress.stopped:
            begun = time.perf_counter()
            logs = self._epoch(chunks, stop)
            self.shown.epoch(self.progress.epoch, logs, time.perf_counter() - begun)
            self.on_epoch(self.progress.history)
            if stop.requested and self.progress.epoch < self.epochs:
                self._interrupt()
            if self._saver and (self._saver.due() or self._asked()):
                self._save()
        return logs

    def _epoch(self, chunks: Chunks, stop: StopSignal) -> dict[str, float]:
        """One epoch, or the rest of one."""
        loop, model, progress, epoch = self.loop, self.loop.model, self.progress, self.progress.epoch
        if progress.step == 0:
            model.reset_metrics()
        self._list.on_epoch_begin(epoch)
        rows = loop.rows
        order = loop.order(permutation(self.seed, epoch, rows) if self.shuffle else np.arange(rows))
        for begin, end in self._bounds(chunks):
            if self._batches:
                self._list.on_train_batch_begin(begin)
            try:
                progress.step = loop.train_chunk(order, begin, end)
            except NonFinite as error:
                raise self._not_finite(epoch, error.step) from None
            if self._batches:
                self._list.on_train_batch_end(end - 1, loop.metrics())
                if model.stop_training:
                    break
            if self.shown.live:
                self.shown.step(epoch + 1, end, loop.metrics() if self._alone else {})
            if stop.requested and progress.step < loop.steps:
                self._interrupt()
            self._save_within_the_epoch()
        logs = loop.metrics()
        if self.data.validation is not None:
            logs.update(self._validate())
        rate = float(import_keras().ops.convert_to_numpy(model.optimizer.learning_rate))
        progress.history.append({**logs, "learning_rate": rate})
        progress.epoch, progress.step = epoch + 1, 0
        self._note_best(logs)
        self._list.on_epoch_end(epoch, logs)
        progress.stopped = bool(model.stop_training)
        return logs

    def _validate(self) -> dict[str, float]:
        assert self.data.validation is not None
        self._list.on_test_begin()
        values = self.loop.evaluate(self.data.validation)
        self._list.on_test_end(values)
        for name, value in values.items():
            if name == "loss" and not math.isfinite(value):
                message = f"the validation loss is {value} after epoch {self.progress.epoch + 1}"
                raise Diverged(f"{message}; try a smaller learning rate, or gradient clipping (clipnorm)")
        return {f"val_{name}": value for name, value in values.items()}

    def _not_finite(self, epoch: int, step: int) -> Diverged:
        value = self.loop.metrics().get("loss", math.nan)
        word = "infinite" if math.isinf(value) else "not a number (NaN)"
        return Diverged(
            f"the loss became {word} in epoch {epoch + 1}, step {step + 1} of {self.loop.steps}; "
            "try a smaller learning rate, or gradient clipping (clipnorm)"
        )

    def _note_best(self, logs: dict[str, float]) -> None:
        value = logs[self.watched]
        if self.progress.best is None or value < self.progress.best:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch
            if self._saver:
                self.progress.best_weights = [variable.numpy() for variable in self.loop.model.variables]
                self._saver.note_best(self.progress.best_weights)

    def _bounds(self, chunks: Chunks) -> Iterator[tuple[int, int]]:
        """Chunks for the rest of the epoch; one ends wherever a state is due."""
        begin, steps = self.progress.step, self.loop.steps
        every = self.checkpoint_every.steps if self._alone else None  # the chunks of all workers are the same
        while begin < steps:
            before = self.progress.epoch * steps
            end = steps if every is None else min(steps, begin + every - (before + begin) % every)
            yield from chunks.bounds(begin, end)
            begin = end

    def _save_within_the_epoch(self) -> None:
        if self._saver is None or self.progress.step == self.loop.steps or not self._alone:
            return
        busy = self._saver.busy  # asking raises what went wrong while writing
        waited = time.perf_counter() - self._saved_at >= 60 * self.checkpoint_every.minutes
        if self._asked() or (self.checkpoint_every.steps is None and waited and not busy):
            self._save()

    def _asked(self) -> bool:
        """Whether a state was asked for after this very step."""
        every, done = self.checkpoint_every.steps, self.progress.epoch * self.loop.steps + self.progress.step
        return every is not None and done % every == 0

    def _save(self, final: bool = False) -> None:
        """Have the state written; waits for it only if `final`, or where states follow faster than the disk takes."""
        if self._saver is None:
            return
        self._saver.wait()
        self._saved_at = time.perf_counter()
        arrays = capture(self.loop.model, self.callbacks, self.progress, self.loop.variables)
        self._saver.put(arrays, time.perf_counter() - self._saved_at, final)
        if final:
            self._saver.wait()

    def _interrupt(self) -> None:
        progress = self.progress
        if progress.step and not self._alone:
            raise Interrupted(f"interrupted in epoch {progress.epoch + 1}; --resume goes on from the epoch's beginning")
        self._save(final=True)
        where = f"in epoch {progress.epoch + 1}, after step {progress.step} of {self.loop.steps}"
        if progress.step == 0:
            where = f"after epoch {progress.epoch} of {self.epochs}"
        raise Interrupted(f"interrupted {where}; {_KEPT}")


def _acts_on_batches(callback: Any) -> bool:
    keras: Any = import_keras()
    if type(callback).__name__ in _CHUNK_SAFE:
        return False
    if type(callback).__name__ == "ModelCheckpoint":
        return callback.save_freq != "epoch"
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(getattr(type(callback), h) is not getattr(keras.callbacks.Callback, h) for h in hooks)


def check_monitors(settings: TrainSettings, loop: Loop, validation: bool) -> None:
    """Callbacks that watch a value, or write it into the name of a file, must name one there is.

    Raises:
        SpecError: with a suggestion.
    """
    names = list(flat(loop.model.get_metrics_result()))
    names += [f"val_{name}" for name in names] if validation else []
    problems = []
    for chosen in settings.callbacks:
        if chosen.class_name not in ("EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"):
            continue
        monitor = chosen.config.get("monitor", "val_loss")
        unnamed = _unnamed(str(chosen.config.get("filepath", "")), names)
        if unnamed:
            message = f"ModelCheckpoint cannot make a name of {chosen.config['filepath']!r}: {unnamed}"
            problems.append(Problem("unknown-name", message, chosen.span, f"there are epoch, {', '.join(names)}"))
        saves_all = chosen.class_name == "ModelCheckpoint" and not chosen.config.get("save_best_only")
        if monitor not in names and not saves_all:
            hint = suggest(monitor, names) or f"there are {', '.join(names)}"
            message = f"{chosen.class_name} watches {monitor!r}, which this training does not have"
            problems.append(Problem("unknown-name", message, chosen.span, hint))
    if problems:
        raise SpecError(problems)


def _unnamed(pattern: str, names: list[str]) -> str:
    """Why Keras could not fill in the pattern of a file's name; "" where it can."""
    if re.search(r"\{[^{}:]*:[^{}]*(\d{3}|\{)", pattern):  # one field can set the width of another
        return "a field is at most 99 wide and holds no other"
    try:
        pattern.format(epoch=1, batch=1, learning_rate=0.1, **dict.fromkeys(names, 0.5))
    except KeyError as error:
        return f"there is no value {error.args[0]!r}"
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        return str(error)
    return ""
