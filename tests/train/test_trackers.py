"""TensorBoard and MLflow get the values of epochs; read back with their own libraries."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbuild.errors import InputError
from kbuild.train.run import train
from tests.extras import needs
from tests.train.conftest import DIGITS


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag → (step, value), from TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    tags = reader.Tags()["tensors"]
    return {tag: [(one.step, float(make_ndarray(one.tensor_proto))) for one in reader.Tensors(tag)] for tag in tags}


def test_tensorboard(compiled: Callable[..., Any], tmp_path: Path) -> None:
    needs("tensorboard")
    run = train(*compiled(), epochs=3, run_dir=tmp_path / "run", quiet=True).run_dir
    rows = history(run)
    for part, names in {"train": ["loss", "accuracy", "learning_rate"], "validation": ["loss", "accuracy"]}.items():
        read = events(run / "logs" / part)
        assert sorted(read) == sorted(f"epoch_{name}" for name in names)
        prefix = "val_" if part == "validation" else ""
        for name in names:
            assert [step for step, _ in read[f"epoch_{name}"]] == [0, 1, 2]
            values = [value for _, value in read[f"epoch_{name}"]]
            assert values == pytest.approx([row[prefix + name] for row in rows], rel=1e-6)


def test_a_tensorboard_callback_of_the_spec_is_the_only_one(compiled: Callable[..., Any], tmp_path: Path) -> None:
    needs("tensorboard")
    text = DIGITS + "  callbacks: [{TensorBoard: {log_dir: mine, write_graph: false}}]\n"
    run = train(*compiled(text), epochs=1, run_dir=tmp_path / "run", quiet=True).run_dir
    assert "epoch_loss" in events(run / "logs" / "mine" / "train")
    assert sorted(path.name for path in (run / "logs").iterdir()) == ["mine"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow on a store of files."""
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    return mlflow.MlflowClient()


def test_mlflow(compiled: Callable[..., Any], tmp_path: Path, server: Any) -> None:
    """Parameters, values per epoch and of the end; a resumed run goes on in the same one."""
    result = train(*compiled(), run_dir=tmp_path / "run", mlflow=True, quiet=True)
    experiment = server.get_experiment_by_name("small")
    (found,) = server.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    assert found.data.params["order"] == "W-N-A-D"
    assert {"epochs", "batch_size", "seed", "optimizer", "loss"} <= set(found.data.params)
    assert found.data.metrics["test_accuracy"] == pytest.approx(result.metrics["test"]["accuracy"])

    train(*compiled(), epochs=3, run_dir=tmp_path / "run", resume=True, mlflow=True, quiet=True)
    (found,) = server.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    logged = server.get_metric_history(found.info.run_id, "val_loss")
    assert [one.step for one in logged] == [1, 2, 3]
    assert [one.value for one in logged] == pytest.approx([row["val_loss"] for row in history(tmp_path / "run")])


def test_mlflow_hears_of_a_failure(compiled: Callable[..., Any], tmp_path: Path, server: Any) -> None:
    text = DIGITS + "  optimizer: {SGD: {learning_rate: 1.0e+38}}\n"
    with pytest.raises(Exception, match="the loss became"):
        train(*compiled(text), run_dir=tmp_path / "run", mlflow=True, quiet=True)
    (found,) = server.search_runs([server.get_experiment_by_name("small").experiment_id])
    assert found.info.status == "FAILED"


def test_mlflow_that_refuses_is_told_before_training(
    compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(InputError, match="MLflow refuses"):
        train(*compiled(), run_dir=tmp_path / "run", mlflow=True, quiet=True)


def test_without_mlflow(compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"--mlflow needs the extra `mlflow`: pip install 'kbuild\[mlflow\]'"):
        train(*compiled(), run_dir=tmp_path / "run", mlflow=True, quiet=True)
