"""kbuild: the whole of `kbuild train`, on all training examples, as the peers have them.

The speed is the one a run reports: epochs after the first, with metrics, history and checkpoints. Beside it the process
that proves the export imports TensorFlow, as it does for every user.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.workers.protocol import BATCH, LEARNING_RATE, SETTINGS, read_task, report
from kbuild.plan.pipeline import plan_spec
from kbuild.resources import spec_path
from kbuild.spec.load import load_spec
from kbuild.train.result import RunResult
from kbuild.train.run import train


def main() -> None:
    task = read_task()
    x, y, x_test, y_test = task.arrays()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "part.npz"
        np.savez(data, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
        changes = [f"train.data={{npz: {data}}}", "train.validation=0", *SETTINGS[task.model]]
        spec = load_spec(spec_path(f"mnist_{task.model}"), overrides=changes)
        assert spec.train is not None
        assert spec.train.batch_size == BATCH
        assert spec.train.optimizer.config["learning_rate"] == LEARNING_RATE
        run_dir = Path(place) / "run"
        given = {"epochs": task.epochs, "seed": task.seed, "strategy": task.strategy}
        result = train(spec, plan_spec(spec), **given, run_dir=run_dir, quiet=True)
    assert isinstance(result, RunResult)
    assert result.images_per_second is not None
    report(images_per_second=result.images_per_second, accuracy=result.metrics["test"]["accuracy"])


if __name__ == "__main__":
    main()
