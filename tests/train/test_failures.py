"""What can go wrong while a real process trains: each is named, and leaves a run that goes on or has clearly failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from kbuild.train.runs import list_runs
from tests.train import killing
from tests.train.conftest import DIGITS

pytestmark = pytest.mark.slow

INTERRUPTED = 130


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed, of the spec beside it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.yaml").write_text(killing.SPEC.replace("epochs: 24", "epochs: 6"))
    killing.finish(killing.command(folder / "spec.yaml", folder / "run", "--quiet"))
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk with the options given, or mounts it anew with others; skips where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        anew = "remount," if os.path.ismount(place) else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{anew}{options}", "tmpfs", str(place)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def listed(run: Path) -> tuple[str, str]:
    """State and error as `kbuild runs` tells them."""
    (one,) = list_runs(run)
    return one.state, one.error


def goes_on(whole: Path, run: Path) -> None:
    """Resumed, it ends as the run that nothing disturbed."""
    killing.finish(killing.command(whole / "spec.yaml", run, "--quiet"))
    killing.assert_same_runs(whole / "run", run)
    assert killing.leftovers(run) == []


def test_a_disk_that_fills(whole: Path, disk: Callable[[str], Path]) -> None:
    size = (whole / "run" / "checkpoints" / "last" / "state.npz").stat().st_size
    run = disk(f"size={int(2.6 * size)}") / "run"  # two states and not three
    said = killing.finish(killing.command(whole / "spec.yaml", run, "--quiet"), expect=1)
    assert "error: the disk is full: cannot write" in said
    assert listed(run)[0] == "failed"
    assert "the disk is full" in listed(run)[1]
    states = [killing.read_state(run / "checkpoints" / "last" / name)[0] for name in ("state.npz", "previous.npz")]
    assert all(state["epoch"] >= 0 for state in states)
    assert killing.leftovers(run) == []
    disk(f"size={10 * size}")
    goes_on(whole, run)


def test_a_disk_that_is_full_at_the_first_file(whole: Path, disk: Callable[[str], Path]) -> None:
    folder = disk("size=4k")
    (folder / "fill").write_bytes(bytes(4096))
    said = killing.finish(killing.command(whole / "spec.yaml", folder / "run", "--quiet"), expect=1)
    assert f"error: the disk is full: cannot write {folder / 'run' / 'log.txt'}" in said
    disk("size=100m")
    goes_on(whole, folder / "run")


def test_a_directory_that_cannot_be_written_to(whole: Path, disk: Callable[[str], Path]) -> None:
    folder = disk("size=100m,ro")
    said = killing.finish(killing.command(whole / "spec.yaml", folder / "run"), expect=2)
    assert f"error: cannot make the run directory {folder / 'run'}: Read-only file system" in said
    disk("size=100m,rw")
    words = killing.command(whole / "spec.yaml", folder / "run", "--quiet")
    killing.finish([*words, "--epochs", "1"])
    disk("size=100m,ro")
    said = killing.finish([*words, "--epochs", "2"], expect=2)
    assert "Read-only file system" in said
    assert listed(folder / "run")[0] == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("phase", ["preparing", "training", "evaluating", "exporting"])
def test_signals_at_any_time(whole: Path, tmp_path: Path, phase: str, number: signal.Signals) -> None:
    run = tmp_path / "run"
    process = killing.start(killing.command(whole / "spec.yaml", run, "--quiet"))
    log, lines = run / "log.txt", {"evaluating": "epoch 6:", "exporting": "\ntest:"}
    if phase == "preparing":
        began = killing.wait_for((run / "metrics.json").exists, process)
    elif phase == "training":
        began = killing.wait_for((run / "history.csv").exists, process)
    else:
        began = killing.wait_for(lambda: log.exists() and lines[phase] in log.read_text(), process)
    assert began
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == INTERRUPTED, err
    assert "interrupted" in err and "--resume goes on" in err and "Traceback" not in err
    assert listed(run)[0] == "interrupted"
    goes_on(whole, run)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_sigterm_while_data_are_read(tmp_path: Path) -> None:
    """Nothing is begun yet, and nothing is left."""
    pytest.importorskip("pyarrow")
    data, run = tmp_path / "people.csv", tmp_path / "run"
    os.mkfifo(data)
    (tmp_path / "spec.yaml").write_text(killing.TABLE)
    process = killing.start(killing.command(tmp_path / "spec.yaml", run, "--quiet"))
    reads: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # nobody reads the pipe
            reads.append(os.open(data, os.O_WRONLY | os.O_NONBLOCK))
        return bool(reads)

    assert killing.wait_for(is_read, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    os.close(reads[0])
    assert process.returncode == INTERRUPTED, err
    assert "Traceback" not in err
    assert not run.exists()


def test_a_killed_process_counts_as_interrupted(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = killing.command(whole / "spec.yaml", run, "--quiet", "--epochs", "500")  # it is not done before the second
    process = killing.start(words)
    assert killing.wait_for((run / "history.csv").exists, process)
    assert listed(run)[0] == "running"
    said = killing.finish(words, expect=2)
    assert "is in use: process" in said
    process.kill()
    process.communicate()
    assert killing.state(run) == "running"
    assert listed(run) == ("interrupted", "its process is gone")


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    """What was written before stays; the run has clearly failed, and goes on only to fail again."""
    spec, run = tmp_path / "spec.yaml", tmp_path / "run"
    rate = "{PiecewiseConstantDecay: {boundaries: [60], values: [0.01, 1.0e+38]}}"
    spec.write_text(
        DIGITS.replace(
            "epochs: 2", f"epochs: 9\n  checkpoint_every: 13\n  optimizer: {{SGD: {{learning_rate: {rate}}}}}"
        )
    )
    words = killing.command(spec, run, "--quiet")
    said = killing.finish(words, expect=1)
    assert "the loss became" in said and "in epoch 5, step" in said
    assert listed(run)[0] == "failed"
    last = run / "checkpoints" / "last" / "state.npz"
    before = last.read_bytes()
    assert killing.read_state(last)[0]["epoch"] == 4
    assert (run / "checkpoints" / "best.keras").is_file()
    assert killing.finish(words, expect=1) == said
    assert last.read_bytes() == before
    assert len((run / "history.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("what", ["changes", "vanishes"])
def test_a_data_file_that_does_not_stay(tmp_path: Path, what: str) -> None:
    """The training has read it: it goes on with what it read. Nothing mixes old and new data afterwards."""
    spec, run, data = tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "data.npz"
    dice = np.random.default_rng(0)
    arrays = {"x_train": dice.integers(0, 16, (500, 8, 8)), "y_train": dice.integers(0, 10, 500)}
    np.savez(data, **arrays)
    spec.write_text(DIGITS.replace("data: digits", "data: {npz: data.npz}").replace("epochs: 2", "epochs: 40"))
    process = killing.start(killing.command(spec, run, "--quiet"))
    assert killing.wait_for((run / "history.csv").exists, process)
    data.unlink()
    if what == "changes":
        np.savez(data, x_train=arrays["x_train"][::-1], y_train=arrays["y_train"])
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["epochs"] == 40
    assert metrics["data_changed"] == [f"{data} {'was changed' if what == 'changes' else 'is not there any more'}"]
    assert metrics["data_changed"][0] in (run / "log.txt").read_text()
    said = killing.finish(killing.command(spec, run, "--epochs", "41"), expect=2)
    assert ("the data changed since the run began" if what == "changes" else "data.npz") in said
    assert listed(run)[0] == "finished"
