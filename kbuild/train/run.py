"""A whole training: data, model, epochs, evaluation, export, proof. One function per thing a user may ask for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kbuild.errors import KbuildError, Problem, Span, SpecError, TrainingError
from kbuild.plan.losses import Target, resolve_losses, resolve_metrics
from kbuild.plan.plan import Plan
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings
from kbuild.train.classes import FILE, to_json
from kbuild.train.data.arrays import Data
from kbuild.train.data.load import load_data
from kbuild.train.interrupt import Interrupted
from kbuild.train.progress import Silent, make_progress, shown
from kbuild.train.result import DryRun, RunResult
from kbuild.train.rundir import MARKER, Clock, RunDir, check_writable, environment, make_run_dir


def train_settings(
    spec: Spec, epochs: int | None = None, batch_size: int | None = None, seed: int | None = None
) -> TrainSettings:
    """The spec's `train` section with the command line's values over it.

    Raises:
        SpecError: the spec has no `train` section.
    """
    if spec.train is None:
        hint = "for example `train: {data: digits, loss: sparse_categorical_crossentropy}`"
        place = Span(spec.source, 1, 1)
        raise SpecError([Problem("missing-key", "this spec has no `train` section, which training needs", place, hint)])
    given = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    problems = [
        Problem("override", f"--{name.replace('_', '-')} must be a whole number from {0 if name == 'seed' else 1}")
        for name, value in given.items()
        if value is not None and value < (0 if name == "seed" else 1)
    ]
    if problems:
        raise SpecError(problems)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
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
    from kbuild.train.compile import check_augment, check_class_weight
    from kbuild.train.objects import check_callbacks

    targets = resolve_losses(settings, plan)
    resolve_metrics(settings, plan, targets)
    check_class_weight(settings, targets)
    check_augment(settings, plan)
    check_callbacks(settings.callbacks)
    return Prepared(settings, targets, load_data(settings, plan, targets, spec.folder, settings.seed))


def build(prepared: Prepared, plan: Plan) -> Any:
    """The compiled Keras model of a plan, on the spec's seed and precision."""
    from kbuild.model.backend import import_keras
    from kbuild.model.lower import build_model
    from kbuild.train.compile import compile_model, set_determinism, set_precision

    settings = prepared.settings
    keras = import_keras()
    keras.utils.set_random_seed(settings.seed)
    set_determinism(settings.deterministic)
    before = set_precision(settings.precision)
    try:
        model = build_model(plan, settings.seed)
        compile_model(model, settings, plan, prepared.targets)
    finally:
        set_precision(before)
    return model


def dry_run(
    spec: Spec, plan: Plan, *, epochs: int | None = None, batch_size: int | None = None, seed: int | None = None
) -> DryRun:
    """Check everything a training would check, and say what it would do.

    Raises:
        SpecError: as `train`.
    """
    settings = train_settings(spec, epochs, batch_size, seed)
    prepared = prepare(spec, plan, settings)
    model = build(prepared, plan)
    splits = {name: split.rows for name, split in prepared.data.splits.items()}
    return DryRun(
        plan.name,
        plan.to_dict()["ordering"],
        splits,
        settings.epochs,
        settings.batch_size,
        settings.seed,
        -(-splits["train"] // settings.batch_size),
        model.count_params(),
        prepared.data.notes,
    )


def train(
    spec: Spec,
    plan: Plan,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    command: Sequence[str] = (),
    summary: str = "",
) -> RunResult:
    """Train a spec's model, evaluate it, export it and prove the export.

    What is evaluated and exported is the model as it stands after the last epoch; `EarlyStopping` with
    `restore_best_weights` makes that the best one. `checkpoints/best.keras` keeps the epoch of the lowest validation
    loss in any case.

    Args:
        epochs, batch_size, seed: instead of the spec's.
        run_dir, name, overwrite: see `kbuild.train.rundir.make_run_dir`.
        quiet: show no progress.
        command: the command line, for `command.json`.
        summary: the resolved order as a table, for `summary.txt`.

    Raises:
        SpecError: the settings or the data do not fit; nothing was written.
        InputError: the run directory cannot be made.
        TrainingError: NaN loss, out of memory, a full disk; the run directory says so.
        Interrupted: Ctrl-C; a checkpoint is written.
        ParityError: the exported model predicts something else.
    """
    clock = Clock()
    settings = train_settings(spec, epochs, batch_size, seed)
    prepared = prepare(spec, plan, settings)
    run = make_run_dir(plan.name, run_dir, name, overwrite)
    check_writable(run)
    display = make_progress(quiet)
    status = Status(run, plan, clock)
    try:
        _describe(run, spec, plan, settings, command, summary)
        return _work(run, plan, prepared, display, status, clock)
    except KbuildError as error:
        state = "interrupted" if isinstance(error, Interrupted) else "failed"
        status.finish(state, error=str(error))
        raise
    except KeyboardInterrupt:
        status.finish("interrupted", error="aborted by a second Ctrl-C")
        kept = f"the last checkpoint is in {run.checkpoints}" if run.checkpoints.is_dir() else "nothing was trained yet"
        raise Interrupted(f"aborted; {kept}") from None
    except MemoryError as error:
        status.finish("failed", error="out of memory")
        raise TrainingError("out of memory; try a smaller batch size (--batch-size)") from error
    except Exception as error:
        status.finish("failed", error=f"{type(error).__name__}: {error}")
        raise


class Status:
    """Keeps `metrics.json` and `log.txt` of a run up to date."""

    def __init__(self, run: RunDir, plan: Plan, clock: Clock):
        self.run, self.plan, self.clock = run, plan, clock
        self.epochs = 0
        self.metrics: dict[str, dict[str, float]] = {}
        self.best: dict[str, Any] = {}

    def on_epoch(self, history: list[dict[str, float]]) -> None:
        """A finished epoch."""
        self.epochs = len(history)
        self.run.history(history)
        self.run.log(f"epoch {self.epochs}: {shown(history[-1])}")

    def write(self, state: str, **more: Any) -> None:
        """Write `metrics.json`."""
        data = {"state": state, "epochs": self.epochs, "seconds": self.clock.seconds, "metrics": self.metrics}
        self.run.write("metrics.json", {**data, "best": self.best, **more})

    def finish(self, state: str, error: str) -> None:
        """Say how it ended, as far as the disk allows."""
        try:
            self.write(state, error=error)
            self.run.log(f"{state}: {error}")
        except KbuildError:
            pass


def _describe(
    run: RunDir, spec: Spec, plan: Plan, settings: TrainSettings, command: Sequence[str], summary: str
) -> None:
    folder = os.path.relpath(spec.folder.resolve(), run.path.resolve())
    values = {name: getattr(settings, name) for name in ("epochs", "batch_size", "seed")}
    run.write(MARKER, {"kbuild_run": True, "command": list(command), "data_folder": folder, "settings": values})
    run.write("spec.yaml", spec.source.text)
    run.write("resolved.yaml", spec.resolved_text())
    run.write("plan.json", plan.to_json() + "\n")
    if summary:
        run.write("summary.txt", summary.rstrip("\n") + "\n")
    (run.path / "logs").mkdir(exist_ok=True)


def _work(run: RunDir, plan: Plan, prepared: Prepared, display: Silent, status: Status, clock: Clock) -> RunResult:
    from kbuild.export.parity import CheckProcess, check_parity
    from kbuild.export.saved_model import export_saved_model
    from kbuild.train.loop import Loop
    from kbuild.train.objects import make_augment, make_callbacks
    from kbuild.train.trainer import Trainer, check_monitors

    settings, data = prepared.settings, prepared.data
    for note in data.notes:
        display.note(note)
    for note in (*plan.notes, *data.notes):
        run.log(note)
    if data.classes:
        run.write(FILE, to_json(data.classes) + "\n")
    status.write("running")
    with CheckProcess() as process:
        model = build(prepared, plan)
        run.write("environment.json", environment())
        augment = make_augment(settings.augment, settings.seed)
        loop = Loop(model, data.train, settings.batch_size, augment, settings.class_weight)
        check_monitors(settings, loop, data.validation is not None)
        callbacks = make_callbacks(settings.callbacks, run.path)
        timer = _Speed(loop.rows)

        def on_epoch(history: list[dict[str, float]]) -> None:
            timer.epoch()
            status.on_epoch(history)

        trainer = Trainer(
            loop, data, callbacks, settings.epochs, settings.seed, settings.shuffle, run.checkpoints, display, on_epoch
        )
        progress = trainer.run()
        status.best = {"epoch": progress.best_epoch, trainer.watched: progress.best}
        if settings.recalibrate:
            _recalibrate(run, model, data)
        for split_name, split in data.splits.items():
            status.metrics[split_name] = loop.evaluate(split)
            run.log(f"{split_name}: {shown(status.metrics[split_name])}")
        _curves(run, plan, progress.history, progress.best_epoch)
        saved = export_saved_model(model, run.saved_model, data.classes)
        sample = data.test or data.validation or data.train
        parity = check_parity(model, saved, sample.x, process, run.parity, settings.precision, data.classes)
    seconds = clock.seconds
    status.write("finished", images_per_second=timer.rate)
    run.log(
        f"finished: the exported model predicts the same (largest difference "
        f"{max(f['max_abs'] for f in parity['outputs'].values()):.3g})"
    )
    return RunResult(
        run.path,
        saved,
        status.metrics,
        progress.epoch,
        seconds,
        plan.to_dict()["ordering"],
        parity,
        status.best,
        timer.rate,
    )


def _recalibrate(run: RunDir, model: Any, data: Data) -> None:
    """The statistics of batch normalization anew, over the training data alone; checkpoints keep the moving ones."""
    from kbuild.diagnose.statistics import recalibrate

    names = recalibrate(model, data.train.x)
    run.log(f"recalibrated {len(names)} batch normalizations over {data.train.rows:,} training examples")


def _curves(run: RunDir, plan: Plan, history: list[dict[str, float]], best: int | None) -> None:
    from kbuild.train.curves import draw_curves

    if not draw_curves(history, run.path / "curves.svg", f"{plan.name} · {plan.policy or plan.order}", best):
        run.log("no curves.svg: matplotlib is not installed (the extra `report`)")


class _Speed:
    """Images per second, the first epoch (which compiles) left out where there are others."""

    def __init__(self, rows: int):
        self.rows, self.times = rows, [time.perf_counter()]

    def epoch(self) -> None:
        self.times.append(time.perf_counter())

    @property
    def rate(self) -> float | None:
        since = self.times[1:] if len(self.times) > 2 else self.times
        if len(since) < 2:
            return None
        return round(self.rows * (len(since) - 1) / max(since[-1] - since[0], 1e-9), 1)
