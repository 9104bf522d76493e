"""A whole training: data, model, epochs, evaluation, export, proof. One function per thing a user may ask for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, KbuildError, TrainingError
from kbuild.plan.plan import Plan
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings
from kbuild.train.checkpoint import Progress
from kbuild.train.classes import FILE, to_json
from kbuild.train.data.arrays import Data
from kbuild.train.data.seen import differences
from kbuild.train.environment import describe_environment
from kbuild.train.fingerprint import Fingerprints
from kbuild.train.follow import follow
from kbuild.train.interrupt import Interrupted, sigterm_as_interrupt
from kbuild.train.lock import holding
from kbuild.train.prepare import Prepared, build, build_from, make_loop, prepare, train_settings
from kbuild.train.progress import Silent, make_progress, shown
from kbuild.train.result import DryRun, Followed, RunResult
from kbuild.train.resume import COMMAND_SETTINGS, DATA, check_files, command_settings, find_earlier, go_on
from kbuild.train.rundir import MARKER, Clock, RunDir, check_writable, make_run_dir
from kbuild.train.status import Speed, Status
from kbuild.train.strategy import Replicas, make_replicas


def dry_run(spec: Spec, plan: Plan, **given: Any) -> DryRun:
    """Check everything a training would check, and say what it would do.

    Args:
        given: as `train_settings` takes them.

    Raises:
        SpecError: as `train`.
    """
    settings = train_settings(spec, **given)
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


@sigterm_as_interrupt()
def train(
    spec: Spec,
    plan: Plan,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    strategy: str | None = None,
    run_dir: str | Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    mlflow: bool = False,
    quiet: bool = False,
    command: Sequence[str] = (),
    summary: str = "",
) -> RunResult | Followed:
    """Train a spec's model, evaluate it, export it and prove the export.

    What is evaluated and exported is the model as it stands after the last epoch; `EarlyStopping` with
    `restore_best_weights` makes that the best one. `checkpoints/best.keras` keeps the epoch of the lowest validation
    loss in any case.

    Args:
        epochs, batch_size, seed, deterministic, strategy: instead of the spec's; "none" for no strategy.
        run_dir, name, overwrite: see `kbuild.train.rundir.make_run_dir`.
        resume: go on with the run in `run_dir`, or begin it where nothing is there; one that is done is only read.
        mlflow: log to MLflow too.
        quiet: show no progress.
        command: the command line, for `command.json`.
        summary: the resolved order as a table, for `summary.txt`.

    Returns:
        What the run holds; or that this process was a worker beside the one that writes it.

    Raises:
        SpecError: the settings or the data do not fit; nothing was written.
        InputError: the run directory cannot be made, or is not one to go on with.
        TrainingError: NaN loss, out of memory, a full disk; the run directory says so.
        WorkerLost: another worker is gone; all of them go on from the last state.
        Interrupted: Ctrl-C; a checkpoint is written.
        ParityError: the exported model predicts something else.
    """
    clock, display = Clock(), make_progress(quiet)
    values = (epochs, batch_size, seed, deterministic, strategy)
    given: dict[str, Any] = dict(zip(COMMAND_SETTINGS, values, strict=True))
    if resume and (run_dir is None or overwrite):
        raise InputError("--resume goes on with the run that --run-dir names; --overwrite begins one anew")
    earlier = find_earlier(Path(run_dir or ""), spec, plan, given) if resume else None
    if earlier is not None and earlier.finished:
        display.note(earlier.done)
        return earlier.result()
    if resume and earlier is None:
        display.note(f"nothing to resume in {run_dir}: the run begins")
    settings = earlier.settings if earlier else train_settings(spec, **given)
    replicas = make_replicas(settings.strategy, settings.batch_size, run_dir, display.note)
    prepared = prepare(spec, plan, settings)
    if not replicas.chief:
        with replicas.naming_losses():
            return follow(prepared, plan, replicas, RunDir(Path(run_dir or "")), resume)
    hashes = Fingerprints(prepared.data)
    if earlier:
        check_files(earlier, hashes)
    with ExitStack() as held:
        run = earlier.run if earlier else make_run_dir(plan.name, run_dir, name, overwrite)
        held.enter_context(holding(run.path))
        check_writable(run)
        status = Status(run, clock, earlier.metrics.get("started") if earlier else None)
        try:
            if earlier is None:
                _describe(run, spec, plan, settings, command, summary)
            else:
                go_on(earlier, command)
            with replicas.naming_losses():
                return _work(_Job(run, plan, prepared, replicas, hashes, display, status, mlflow, earlier is not None))
        except KbuildError as error:
            status.finish("interrupted" if isinstance(error, Interrupted) else "failed", str(error))
            raise
        except KeyboardInterrupt:
            kept = f"--resume goes on with {run.path}"
            message = f"interrupted while {status.phase}; {kept}"
            status.finish("interrupted", message)
            raise Interrupted(message) from None
        except MemoryError as error:
            status.finish("failed", "out of memory")
            raise TrainingError("out of memory; try a smaller batch size (--batch-size)") from error
        except Exception as error:
            status.finish("failed", f"{type(error).__name__}: {error}")
            raise


def _describe(
    run: RunDir, spec: Spec, plan: Plan, settings: TrainSettings, command: Sequence[str], summary: str
) -> None:
    """What is known before anything is trained; `command.json` last, for it says that the directory is a run."""
    run.write("spec.yaml", spec.source.text)
    run.write("resolved.yaml", spec.resolved_text())
    run.write("plan.json", plan.to_json() + "\n")
    if summary:
        run.write("summary.txt", summary.rstrip("\n") + "\n")
    (run.path / "logs").mkdir(exist_ok=True)
    folder = os.path.relpath(spec.folder.resolve(), run.path.resolve())
    values = command_settings(settings)
    run.write(MARKER, {"kbuild_run": True, "command": list(command), "data_folder": folder, "settings": values})


@dataclass(frozen=True)
class _Job:
    """What `_work` needs."""

    run: RunDir
    plan: Plan
    prepared: Prepared
    replicas: Replicas
    hashes: Fingerprints
    display: Silent
    status: Status
    mlflow: bool
    resume: bool


def _work(job: _Job) -> RunResult:
    from kbuild.export.parity import CheckProcess, check_parity
    from kbuild.export.saved_model import export_saved_model
    from kbuild.train.loop import Loop
    from kbuild.train.objects import go_on_after, make_callbacks
    from kbuild.train.trackers import make_trackers
    from kbuild.train.trainer import Trainer

    run, plan, status, display = job.run, job.plan, job.status, job.display
    settings, data = job.prepared.settings, job.prepared.data
    for note in data.notes:
        display.note(note)
    for note in (*plan.notes, *data.notes):
        run.log(note)
    if data.classes:
        run.write(FILE, to_json(data.classes) + "\n")
    status.write("running")
    with CheckProcess() as process:
        model = build(job.prepared, plan, job.replicas)
        status.trackers = make_trackers(run, plan, settings, job.mlflow)
        note = describe_environment(run)
        if note:
            display.note(note)
            run.log(note)
        loop = make_loop(model, job.prepared, job.replicas)
        callbacks = make_callbacks(settings.callbacks, run.path, append=job.resume)
        run.write(DATA, job.hashes.to_dict())
        timer = Speed(loop.rows)

        def on_epoch(history: list[dict[str, float]]) -> None:
            timer.epoch()
            status.on_epoch(history)

        def on_resume(progress: Progress, damaged: str) -> None:
            if damaged:
                display.note(damaged)
                run.log(damaged)
            go_on_after(callbacks, progress.epoch)
            where = f"after epoch {progress.epoch}, step {progress.step}"
            status.resumed(progress.history, where)
            display.note(f"resumed {where}")

        status.phase = "training"
        trainer = Trainer(
            loop,
            data,
            callbacks,
            settings.epochs,
            settings.seed,
            settings.shuffle,
            run.checkpoints,
            display,
            on_epoch,
            on_resume,
            settings.checkpoint_every,
        )
        progress = trainer.run(job.resume)
        status.epochs = progress.epoch
        status.best = {"epoch": progress.best_epoch, trainer.watched: progress.best}
        status.phase = "evaluating"
        if job.replicas.strategy is not None:  # what follows is one process's work, on a model of one copy
            model = build_from(model, job.prepared, plan)
            loop = Loop(model, None, settings.batch_size)
        if settings.recalibrate:
            _recalibrate(run, model, data)
        for split_name, split in data.splits.items():
            status.metrics[split_name] = loop.evaluate(split)
            run.log(f"{split_name}: {shown(status.metrics[split_name])}")
        status.phase = "exporting"
        _curves(run, plan, progress.history, progress.best_epoch)
        saved = export_saved_model(model, run.saved_model, data.classes)
        sample = data.test or data.validation or data.train
        parity = check_parity(model, saved, sample.x, process, run.parity, settings.precision, data.classes)
    changed = _look_again(job)
    status.finish("finished", images_per_second=timer.rate, stopped=progress.stopped, data_changed=changed)
    run.log(
        f"finished: the exported model predicts the same (largest difference "
        f"{max(f['max_abs'] for f in parity['outputs'].values()):.3g})"
    )
    return RunResult(
        run.path,
        saved,
        status.metrics,
        progress.epoch,
        status.seconds,
        plan.to_dict()["ordering"],
        parity,
        status.best,
        timer.rate,
    )


def _look_again(job: _Job) -> list[str]:
    """Say which files of the data are not what they were when they were read; what was read on the way was compared."""
    changed = differences(job.prepared.data.files)
    if changed:
        more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        warning = (
            f"warning: {'; '.join(changed[:3])}{more}. The run used what it had read before; "
            "`--resume` and `kbuild reproduce` will report other values"
        )
        job.display.note(warning)
        job.run.log(warning)
    return changed


def _recalibrate(run: RunDir, model: Any, data: Data) -> None:
    """The statistics of batch normalization anew, over the training data alone; checkpoints keep the moving ones."""
    from kbuild.diagnose.statistics import recalibrate

    names = recalibrate(model, data.train.x)
    run.log(f"recalibrated {len(names)} batch normalizations over {data.train.rows:,} training examples")


def _curves(run: RunDir, plan: Plan, history: list[dict[str, float]], best: int | None) -> None:
    from kbuild.train.curves import draw_curves

    if not draw_curves(history, run.path / "curves.svg", f"{plan.name} · {plan.policy or plan.order}", best):
        run.log("no curves.svg: matplotlib is not installed (the extra `report`)")
