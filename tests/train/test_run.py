"""`train` from the spec to the proven export, and everything that can stop it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbuild.errors import InputError, SpecError, TrainingError
from kbuild.train.run import dry_run, train


def test_files_of_a_run(small_run: Any) -> None:
    run = small_run.run_dir
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "spec.yaml",
        "resolved.yaml",
        "plan.json",
        "environment.json",
        "command.json",
        "history.csv",
        "metrics.json",
        "summary.txt",
        "log.txt",
        "checkpoints/best.keras",
        "checkpoints/last/state.npz",
        "export/saved_model/saved_model.pb",
        "export/parity.json",
    } <= files
    assert not [name for name in files if "tmp" in name or "old" in name]


def test_result(small_run: Any) -> None:
    data = json.loads(json.dumps(small_run.to_dict()))
    assert data["epochs"] == 2
    assert set(data["metrics"]) == {"train", "validation", "test"}
    assert set(data["metrics"]["test"]) == {"loss", "accuracy"}
    assert data["ordering"]["order"] == "W-N-A-D"
    assert data["saved_model"] == str(Path(data["run_dir"]) / "export" / "saved_model")
    assert data["parity"]["ok"]
    assert data["parity"]["batch_sizes"] == [1, 7, 256]
    assert data["images_per_second"] > 0
    assert "SavedModel" in small_run.text()


def test_metrics_and_history_agree(small_run: Any) -> None:
    metrics = json.loads((small_run.run_dir / "metrics.json").read_text())
    assert metrics["state"] == "finished"
    with (small_run.run_dir / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["val_loss"]) == pytest.approx(metrics["metrics"]["validation"]["loss"], rel=1e-6)
    assert metrics["best"]["val_loss"] == min(float(row["val_loss"]) for row in rows)


def test_the_log_says_what_was_done_to_the_data(small_run: Any) -> None:
    log = (small_run.run_dir / "log.txt").read_text()
    assert "a channel axis of size 1 was added" in log
    assert "1,293 train, 144 validation, 360 test examples" in log


def test_the_same_seed_gives_the_same_bits(compiled: Callable[..., Any], small_run: Any, tmp_path: Path) -> None:
    spec, plan = compiled()
    again = train(spec, plan, run_dir=tmp_path / "again", quiet=True)
    assert again.metrics == small_run.metrics
    assert (again.run_dir / "history.csv").read_bytes() == (small_run.run_dir / "history.csv").read_bytes()


def test_dry_run_writes_nothing(compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec, plan = compiled()
    before = sorted(tmp_path.rglob("*"))
    planned = dry_run(spec, plan, epochs=3, batch_size=500)
    assert sorted(tmp_path.rglob("*")) == before
    assert (planned.epochs, planned.steps, planned.splits["train"]) == (3, 3, 1293)
    assert "would train small" in planned.text()
    assert "1,293 train" in planned.text()
    assert json.dumps(planned.to_dict())


def test_without_a_train_section(compiled: Callable[..., Any]) -> None:
    spec, plan = compiled("input: {shape: [4]}\nlayers:\n  - Dense: 2\n")
    with pytest.raises(SpecError, match="this spec has no `train` section"):
        train(spec, plan)


@pytest.mark.parametrize("option", ["epochs", "batch_size"])
def test_options_have_bounds(compiled: Callable[..., Any], option: str) -> None:
    with pytest.raises(SpecError, match="must be a whole number from 1"):
        train(*compiled(), **{option: 0})


def test_bad_data_leave_no_run_behind(compiled: Callable[..., Any], tmp_path: Path) -> None:
    spec, _plan = compiled()
    with pytest.raises(SpecError):
        train(*compiled((spec.source.text).replace("Dense: 10", "Dense: 5")), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_directory_in_the_way_is_told_before_training(compiled: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("")
    with pytest.raises(InputError, match="not empty"):
        train(*compiled(), run_dir=tmp_path / "run")


def state(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text()))


def test_nan_loss(compiled: Callable[..., Any], tmp_path: Path) -> None:
    spec, _plan = compiled()
    text = spec.source.text.replace("batch_size: 100", "batch_size: 100\n  optimizer: {SGD: {learning_rate: 1.0e+38}}")
    with pytest.raises(TrainingError, match=r"in epoch 1, step \d+ of 13; try a smaller learning rate"):
        train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    assert state(tmp_path / "run")["state"] == "failed"
    assert "the loss became" in state(tmp_path / "run")["error"]


def test_full_disk(compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kbuild.train import checkpoint

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.raises(TrainingError, match=r"the disk is full: cannot write .*state\.npz"):
        train(*compiled(), run_dir=tmp_path / "run", quiet=True)
    assert state(tmp_path / "run")["state"] == "failed"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/data/own.csv"), "cannot go on: /data/own.csv: Permission denied"),
        (OSError(28, os.strerror(28)), "cannot go on: the disk is full"),
        (OSError("unable to lock"), "cannot go on: unable to lock"),
    ],
)
def test_a_callback_that_cannot_use_its_file(
    compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    """What the system says is told, and not that a checkpoint could not be written."""
    from kbuild.model.backend import import_keras

    def fail(*_: Any, **__: Any) -> None:
        raise error

    keras: Any = import_keras()
    monkeypatch.setattr(keras.callbacks.CSVLogger, "on_epoch_end", fail)
    spec, _plan = compiled()
    text = spec.source.text + "  callbacks: [{CSVLogger: own.csv}]\n"
    with pytest.raises(TrainingError, match=said) as caught:
        train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    assert "checkpoints" not in str(caught.value)
    assert state(tmp_path / "run")["state"] == "failed"


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ("{EarlyStopping: {monitor: val_acuracy}}", "did you mean 'val_accuracy'?"),
        ("{ModelCheckpoint: 'a-{val_acc}.keras'}", "there is no value 'val_acc'"),
        ("{ModelCheckpoint: 'a-{epoch.keras'}", "cannot make a name of 'a-{epoch.keras'"),
        ("{ModelCheckpoint: 'a-{epoch:9000000000}.keras'}", "a field is at most 99 wide"),
        ("{ModelCheckpoint: 'a-{epoch:{epoch}{epoch}}.keras'}", "a field is at most 99 wide and holds no other"),
        ("{CSVLogger: {filename: ../escape.csv}}", "paths of callbacks stay inside the run directory"),
        ("{CSVLogger: {filename: /tmp/escape.csv}}", "paths of callbacks stay inside the run directory"),
        ("{ModelCheckpoint: best.keras}", "where the run keeps its own checkpoints/best.keras"),
        ("{ModelCheckpoint: 'last/{epoch}.keras'}", "where the run keeps its own checkpoints/last"),
    ],
)
def test_callbacks_that_cannot_work(compiled: Callable[..., Any], tmp_path: Path, callback: str, message: str) -> None:
    text = compiled()[0].source.text + f"  callbacks: [{callback}]\n"
    with pytest.raises(SpecError) as caught:
        train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "{RandomCrop: {height: 4, width: 4}}",
            "RandomCrop of `augment` makes [4, 4, 1] of inputs of the shape [8, 8, 1]",
        ),
        ("{RandomHue: 0.1}", "RandomHue of `augment` refuses inputs of the shape [8, 8, 1]: "),
    ],
)
def test_augmentation_that_does_not_fit(compiled: Callable[..., Any], layer: str, message: str) -> None:
    """It is told by a dry run too."""
    with pytest.raises(SpecError) as caught:
        dry_run(*compiled(compiled()[0].source.text + f"  augment: [RandomFlip, {layer}]\n"))
    (problem,) = caught.value.problems
    assert message in problem.message and "\x1b" not in problem.message
    assert problem.span is not None


def test_callbacks_work_as_in_fit(compiled: Callable[..., Any], tmp_path: Path) -> None:
    text = compiled()[0].source.text.replace("epochs: 2", "epochs: 6") + (
        "  callbacks:\n"
        "    - {EarlyStopping: {monitor: val_loss, patience: 1, min_delta: 100.0, restore_best_weights: true}}\n"
        "    - {ReduceLROnPlateau: {monitor: loss, patience: 1, min_delta: 100.0}}\n"
        "    - {CSVLogger: {filename: of/epochs.csv}}\n"
        "    - TerminateOnNaN\n"
    )
    result = train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    assert result.epochs == 2
    assert (tmp_path / "run" / "logs" / "of" / "epochs.csv").read_text().count("\n") == 3
    first = result.run_dir / "history.csv"
    with first.open() as stream:
        rows = list(csv.DictReader(stream))
    assert result.metrics["validation"]["loss"] == pytest.approx(float(rows[0]["val_loss"]), rel=1e-6)


def test_quiet_and_lines(compiled: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(*compiled(), epochs=1, run_dir=tmp_path / "a", quiet=True)
    assert capfd.readouterr() == ("", "")
    train(*compiled(), epochs=1, run_dir=tmp_path / "b")
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["1,293", "a", "epoch"]


def test_precision_class_weight_augment(compiled: Callable[..., Any], tmp_path: Path) -> None:
    text = compiled()[0].source.text + (
        "  precision: mixed_bfloat16\n  class_weight: {0: 2.0, 9: 0.5}\n"
        "  augment: [{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]\n"
    )
    result = train(*compiled(text), epochs=1, run_dir=tmp_path / "run", quiet=True)
    assert result.parity["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_a_checkpoint(compiled: Callable[..., Any], tmp_path: Path, number: signal.Signals) -> None:
    compiled()
    code = (
        "import sys\nfrom kbuild.errors import KbuildError\nfrom kbuild.spec.load import load_spec\n"
        "from kbuild.plan.pipeline import plan_spec\nfrom kbuild.train.run import train\n"
        "spec = load_spec(sys.argv[1])\n"
        "try:\n    train(spec, plan_spec(spec), epochs=100000, run_dir=sys.argv[2])\n"
        "except KbuildError as error:\n    print(error)\n    sys.exit(error.exit_code)\n"
    )
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "spec.yaml"), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    until = time.monotonic() + 60
    while not (run / "history.csv").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "a checkpoint is written" in out
    assert state(run)["state"] == "interrupted"
    assert (run / "checkpoints" / "last" / "state.npz").is_file()
    assert (run / "checkpoints" / "best.keras").is_file()
