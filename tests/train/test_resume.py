"""Going on with a run: the same bytes, or a reason why not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError
from kbuild.train.checkpoint import PREVIOUS, read_state
from kbuild.train.lock import holding, is_held
from kbuild.train.resume import read_earlier
from kbuild.train.run import train
from tests.train.conftest import DIGITS


@pytest.fixture
def run(small_run: Any, tmp_path: Path) -> Path:
    """A copy of the small run, finished with two epochs."""
    return Path(shutil.copytree(small_run.run_dir, tmp_path / "run"))


def states(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return read_state(run / "checkpoints" / "last" / "state.npz")


def same_states(one: Path, other: Path) -> None:
    """Equal but for the numbers that Keras gives to the names of one process: `adam_2/...`."""
    (a, arrays), (b, others) = states(one), states(other)
    assert re.sub(r"_\d+", "", json.dumps(a)) == re.sub(r"_\d+", "", json.dumps(b))
    for name in arrays.keys() - {"state"}:
        np.testing.assert_array_equal(arrays[name], others[name])


def test_a_finished_run_says_so(
    compiled: Callable[..., Any], run: Path, small_run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = train(*compiled(), run_dir=run, resume=True)
    assert "run is finished, with 2 epochs; --epochs with more than 2 trains on" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert {**result.to_dict(), "run_dir": 0, "saved_model": 0} == {
        **small_run.to_dict(),
        "run_dir": 0,
        "saved_model": 0,
    }


def test_more_epochs_go_on_from_a_finished_run(compiled: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    whole = train(*compiled(), epochs=4, run_dir=tmp_path / "whole", quiet=True)
    result = train(*compiled(), epochs=4, run_dir=run, resume=True, quiet=True, command=("again",))
    assert result.metrics == whole.metrics
    assert result.best == whole.best
    same_states(run, whole.run_dir)
    assert (run / "history.csv").read_bytes() == (whole.run_dir / "history.csv").read_bytes()
    assert "resumed after epoch 2, step 0" in (run / "log.txt").read_text()
    command = json.loads((run / "command.json").read_text())
    assert (command["settings"]["epochs"], command["resumed"]) == (4, [["again"]])
    with pytest.raises(InputError, match="has trained 4 epochs; --epochs must not be less"):
        train(*compiled(), epochs=3, run_dir=run, resume=True, quiet=True)


def test_epochs_of_the_spec_may_grow(compiled: Callable[..., Any], run: Path) -> None:
    assert train(*compiled(DIGITS.replace("epochs: 2", "epochs: 3")), run_dir=run, resume=True, quiet=True).epochs == 3


def test_a_damaged_state_gives_way_to_the_one_before(
    compiled: Callable[..., Any], run: Path, small_run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / "last"
    assert states(run)[0]["epoch"] == 2
    assert read_state(last / PREVIOUS)[0]["epoch"] == 1
    (last / "state.npz").write_bytes((last / "state.npz").read_bytes()[:-1000])
    (run / "checkpoints" / "best.keras").unlink()
    (run / "metrics.json").write_text('{"state": "running"}')
    with (run / "history.csv").open("a") as stream:
        stream.write("3,0.1")  # cut off by a kill
    result = train(*compiled(), run_dir=run, resume=True)
    said = capfd.readouterr().err
    assert "cannot read the checkpoint" in said and "the state before it is whole and taken instead" in said
    assert "resumed after epoch 1, step 0" in said
    assert result.metrics == small_run.metrics
    same_states(run, small_run.run_dir)
    assert (run / "history.csv").read_bytes() == (small_run.run_dir / "history.csv").read_bytes()
    assert (run / "checkpoints" / "best.keras").is_file()


def test_two_damaged_states_are_refused(compiled: Callable[..., Any], run: Path) -> None:
    for name in ("state.npz", PREVIOUS):
        (run / "checkpoints" / "last" / name).write_bytes(b"PK\x03\x04 not a state")
    before = (run / "metrics.json").read_bytes()
    with pytest.raises(
        InputError, match=r"cannot read the checkpoint .*state\.npz.*; cannot read .*previous\.npz"
    ) as caught:
        train(*compiled(), epochs=3, run_dir=run, resume=True, quiet=True)
    assert caught.value.exit_code == 2
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (("units: 32", "units: 33"), {}, r"run of another spec: the model differs at dense1"),
        (("W-N-A-D, dropout: 0.1", "W-A-N-D, dropout: 0.1"), {}, "the model differs at dense1"),
        (("metrics: [accuracy]", "metrics: []"), {}, r"metrics: \[\{'class_name': 'accuracy'.* in the run, \[\] now"),
        (("batch_size: 100", "batch_size: 64"), {}, "batch_size: 100 in the run, 64 now"),
        (("data: digits", "data: {keras: mnist}"), {}, "data: .*digits.* in the run, .*mnist.* now"),
        (
            ("", ""),
            {"seed": 3},
            "seed: 0 in the run, 3 now; `kbuild train .* --resume` goes on with it as it was begun",
        ),
        (("", ""), {"deterministic": True}, "deterministic: False in the run, True now"),
    ],
)
def test_a_run_of_another_spec_is_refused(
    compiled: Callable[..., Any], run: Path, change: tuple[str, str], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(*compiled(DIGITS.replace(*change)), run_dir=run, resume=True, quiet=True, **given)


def test_what_does_not_change_the_training_may_differ(compiled: Callable[..., Any], run: Path) -> None:
    text = "# a remark\n" + DIGITS.replace("epochs: 2", "epochs: 2\n  checkpoint_every: {minutes: 1}")
    assert train(*compiled(text), run_dir=run, resume=True, quiet=True).epochs == 2


def test_changed_data_are_refused(compiled: Callable[..., Any], tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    arrays = {"x_train": dice.integers(0, 16, (50, 8, 8)), "y_train": dice.integers(0, 10, 50)}
    np.savez(tmp_path / "data.npz", **arrays)
    made = compiled(DIGITS.replace("data: digits", "data: {npz: data.npz}"))
    train(*made, epochs=1, run_dir=tmp_path / "run", quiet=True)
    arrays["y_train"][7] = (arrays["y_train"][7] + 1) % 10
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(
        InputError, match="the data changed since the run began: train holds other values in its 45 rows"
    ):
        train(*made, epochs=2, run_dir=tmp_path / "run", resume=True, quiet=True)
    np.savez(tmp_path / "data.npz", **{name: values[:40] for name, values in arrays.items()})
    with pytest.raises(InputError, match="train has 36 rows, not 45; validation has 4 rows, not 5"):
        train(*made, epochs=2, run_dir=tmp_path / "run", resume=True, quiet=True)
    (tmp_path / "data.npz").unlink()
    with pytest.raises(InputError, match=r"data\.npz"):
        train(*made, epochs=2, run_dir=tmp_path / "run", resume=True, quiet=True)


def test_a_run_in_use_is_left_alone(compiled: Callable[..., Any], run: Path) -> None:
    with holding(run):
        assert is_held(run)
        with pytest.raises(InputError, match=r"is in use: process .* works on it since"):
            train(*compiled(), epochs=3, run_dir=run, resume=True, quiet=True)
        with pytest.raises(InputError, match=r"is in use: .*; nothing was deleted"):
            train(*compiled(), run_dir=run, overwrite=True, quiet=True)
    assert not is_held(run)


@pytest.mark.parametrize("there", [[], [".lock", "spec.yaml", "log.txt", ".plan.json.tmp-7"]])
def test_where_nothing_was_begun_the_run_begins(
    compiled: Callable[..., Any], tmp_path: Path, there: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in there:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    assert train(*compiled(), epochs=1, run_dir=tmp_path / "run", resume=True).epochs == 1
    assert "nothing to resume in" in capfd.readouterr().err


def test_what_is_no_run_is_refused(compiled: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spec.yaml").write_text("mine")
    with pytest.raises(InputError, match="is not a run of kbuild"):
        train(*compiled(), run_dir=tmp_path / "mine", resume=True)
    with pytest.raises(InputError, match="is not empty"):
        train(*compiled(), run_dir=tmp_path / "mine")
    with pytest.raises(InputError, match="--resume goes on with the run that --run-dir names"):
        train(*compiled(), resume=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("command.json", '{"kbuild_run": true}', "command.json is damaged"),
        ("plan.json", '{"name": "cut of', "cannot read .*plan.json"),
        ("plan.json", "[]", "plan.json is not a plan of this version"),
        ("metrics.json", "[1]", "metrics.json is damaged"),
        ("history.csv", "epoch,loss\n1,x\n", "cannot read .*history.csv"),
        ("resolved.yaml", "layers: [", "resolved.yaml"),
    ],
)
def test_damaged_files_are_named(run: Path, name: str, content: str, message: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_earlier(run)


@pytest.mark.parametrize("name", ["resolved.yaml", "plan.json"])
def test_missing_files_are_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(InputError, match=f"the run has no {name}"):
        read_earlier(run)


def test_lines_of_csv_logger_are_not_written_twice(compiled: Callable[..., Any], tmp_path: Path) -> None:
    text = DIGITS + "  callbacks: [{CSVLogger: {filename: own.csv}}]\n"
    train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    log = tmp_path / "run" / "logs" / "own.csv"
    with log.open("a") as stream:
        stream.write("2,0.5,0.5,0.5,0.5\n3,0.5")  # written by a process that was killed before its state was
    train(*compiled(text), epochs=3, run_dir=tmp_path / "run", resume=True, quiet=True)
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["epoch", "0", "1", "2"]
    train(*compiled(text), epochs=3, run_dir=tmp_path / "whole", quiet=True)
    assert log.read_bytes() == (tmp_path / "whole" / "logs" / "own.csv").read_bytes()


def test_a_moved_run_goes_on_where_it_is(compiled: Callable[..., Any], tmp_path: Path) -> None:
    """Paths of callbacks are the directory's, not the state's."""
    text = DIGITS + "  callbacks: [{ModelCheckpoint: {filepath: own.keras}}]\n"
    train(*compiled(text), epochs=1, run_dir=tmp_path / "run", quiet=True)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    train(*compiled(text), run_dir=tmp_path / "moved", resume=True, quiet=True)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "moved" / "checkpoints" / "own.keras").is_file()
