"""Where else the values of epochs go: TensorBoard's event files where it is installed, MLflow where one asks for it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from kbuild.errors import InputError
from kbuild.model.backend import import_keras
from kbuild.plan.plan import Plan
from kbuild.spec.train import Chosen, TrainSettings
from kbuild.train.rundir import RunDir, read_json

#: The file that says which run of MLflow a run directory is.
MLFLOW = "mlflow.json"

#: How a run ended, in MLflow's words.
_MLFLOW_STATES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class Tracker(Protocol):
    """Takes what a training gives, as it comes."""

    def epoch(self, number: int, row: Mapping[str, float]) -> None:
        """Values of a finished epoch, counted from 1."""

    def end(self, state: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """The state of the run ("finished", "interrupted", "failed") and its metrics: split → name → value."""


def make_trackers(run: RunDir, plan: Plan, settings: TrainSettings, mlflow: bool) -> list[Tracker]:
    """The trackers of a run.

    Raises:
        InputError: MLflow is asked for and missing, or refuses.
    """
    found: list[Tracker] = [MLflowLog(run, plan, settings)] if mlflow else []
    own = any(callback.class_name == "TensorBoard" for callback in settings.callbacks)
    if not own and importlib.util.find_spec("tensorboard"):
        found.append(TensorBoardLog(run.path / "logs"))
    return found


class TensorBoardLog:
    """Event files in `logs/train` and `logs/validation`, under the names that Keras' callback gives: `epoch_loss`."""

    def __init__(self, folder: Path):
        import_keras()
        import tensorflow as tf

        self._tf, self._folder, self._writers = tf, folder, dict[str, Any]()

    def epoch(self, number: int, row: Mapping[str, float]) -> None:
        """Write and flush one value per metric; steps are epochs from 0, as in Keras. It never stops a training."""
        with suppress(self._tf.errors.OpError):
            self._write(number, row)

    def _write(self, number: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self._writers:
                self._writers[part] = self._tf.summary.create_file_writer(str(self._folder / part))
            with self._writers[part].as_default():
                self._tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=number - 1)
        for writer in self._writers.values():
            writer.flush()

    def end(self, state: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Close the files."""
        with suppress(self._tf.errors.OpError):
            for writer in self._writers.values():
                writer.close()


class MLflowLog:
    """A run of MLflow, in the experiment and on the server that MLflow's own environment variables name.

    A resumed run goes on in the same one.
    """

    def __init__(self, run: RunDir, plan: Plan, settings: TrainSettings):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            import mlflow
        except ImportError as error:
            raise InputError(f"--mlflow needs the extra `mlflow`: pip install 'kbuild[mlflow]' ({error})") from None
        self._failed = mlflow.exceptions.MlflowException
        self._run = run
        try:
            self._client = mlflow.MlflowClient()
            self._id = self._begin(plan, settings)
        except Exception as error:
            raise InputError(f"MLflow refuses: {_said(error)}") from error

    def _begin(self, plan: Plan, settings: TrainSettings) -> str:
        path = self._run.path / MLFLOW
        if path.exists():
            found = str(read_json(path)["run_id"])
            self._client.update_run(found, "RUNNING")
            return found
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", plan.name)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        found = str(self._client.create_run(number, run_name=self._run.path.name).info.run_id)
        for key, value in parameters(plan, settings).items():
            self._client.log_param(found, key, value)
        self._run.write(MLFLOW, {"experiment": name, "run_id": found})
        return found

    def epoch(self, number: int, row: Mapping[str, float]) -> None:
        """Values per epoch; a server that is away does not stop a training."""
        self._try(lambda: [self._client.log_metric(self._id, name, value, step=number) for name, value in row.items()])

    def end(self, state: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Values of the finished model as `test_loss`, and how the run ended."""

        def log() -> None:
            for split, values in metrics.items():
                for name, value in values.items():
                    self._client.log_metric(self._id, f"{split}_{name}", value)
            self._client.set_terminated(self._id, _MLFLOW_STATES[state])

        self._try(log)

    def _try(self, log: Any) -> None:
        try:
            log()
        except (self._failed, OSError) as error:
            self._run.log(f"MLflow: {_said(error)}")


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def parameters(plan: Plan, settings: TrainSettings) -> dict[str, str]:
    """What MLflow shows as the parameters of a run: the ordering, and what the training was told."""
    ordering = plan.to_dict()["ordering"]
    found = {
        "name": plan.name,
        "policy": ordering["policy"],
        "order": ordering["order"],
        "parameters": plan.total_params,
        "loss": ", ".join(_written(one) for one in settings.loss),
        "optimizer": _written(settings.optimizer),
    }
    for name in ("epochs", "batch_size", "seed", "precision", "deterministic"):
        found[name] = getattr(settings, name)
    return {name: str(value)[:500] for name, value in found.items() if value is not None}


def _written(chosen: Chosen) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in chosen.config.items())
    return f"{chosen.class_name}({arguments})" if arguments else chosen.class_name
