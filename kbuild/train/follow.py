"""The workers of a training on several machines that write nothing: worker 0 writes the run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from kbuild.plan.plan import Plan
from kbuild.train.prepare import Prepared, build, make_loop
from kbuild.train.result import Followed
from kbuild.train.rundir import RunDir
from kbuild.train.strategy import Replicas


def follow(prepared: Prepared, plan: Plan, replicas: Replicas, run: RunDir, resume: bool) -> Followed:
    """Train beside the worker that writes the run, and write nothing.

    Args:
        run: of the chief, whose last state is read to go on; every worker sees its directory.

    Raises:
        As `train`.
    """
    from kbuild.train.objects import make_callbacks
    from kbuild.train.trainer import Trainer

    settings, data = prepared.settings, prepared.data
    model = build(prepared, plan, replicas)
    loop = make_loop(model, prepared, replicas)
    with TemporaryDirectory() as scratch:  # what callbacks write
        callbacks = make_callbacks(settings.callbacks, Path(scratch))
        trainer = Trainer(
            loop, data, callbacks, settings.epochs, settings.seed, settings.shuffle, checkpoints=run.checkpoints
        )
        progress = trainer.run(resume)
    return Followed(replicas.worker, replicas.workers, progress.epoch)
