"""`kbuild runs` and `kbuild reproduce`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError
from kbuild.train.lock import holding
from kbuild.train.reproduce import reproduce
from kbuild.train.runs import list_runs, render, to_json


@pytest.fixture
def runs(small_run: Any, tmp_path: Path) -> Path:
    """A folder with a finished run, `a`, and room for others."""
    shutil.copytree(small_run.run_dir, tmp_path / "runs" / "a")
    return tmp_path / "runs"


def copy(runs: Path, name: str, **metrics: Any) -> Path:
    """Another run, with other things said in `metrics.json`."""
    path = Path(shutil.copytree(runs / "a", runs / name))
    data = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(json.dumps({**data, **metrics}))
    return path


def test_a_finished_run(runs: Path, small_run: Any) -> None:
    (one,) = list_runs(runs)
    assert (one.path, one.state, one.spec, one.epochs, one.of_epochs) == (runs / "a", "finished", "small", 2, 2)
    assert one.ordering == {"policy": None, "order": "W-N-A-D"}
    assert one.best is not None
    assert (one.best["epoch"], one.best["val_loss"]) == (small_run.best["epoch"], small_run.best["val_loss"])
    assert set(one.best) == {"epoch", "val_loss", "val_accuracy"}
    assert list_runs(runs / "a") == [one]
    assert json.loads(to_json([one]))[0]["path"] == str(runs / "a")


def test_states_and_order(runs: Path) -> None:
    copy(runs, "killed", state="running", started="2026-01-03T00:00:00+00:00")
    copy(runs, "failed", state="failed", error="the disk is full", started="2026-01-01T00:00:00+00:00")
    now = copy(runs, "now", state="running", started="2026-01-02T00:00:00+00:00")
    with holding(now):
        found = {one.path.name: one for one in list_runs(runs)}
    assert list(found)[:3] == ["failed", "now", "killed"]
    assert (found["failed"].state, found["failed"].error) == ("failed", "the disk is full")
    assert (found["killed"].state, found["killed"].error) == ("interrupted", "its process is gone")
    assert found["now"].state == "running"
    text = render(list(found.values()))
    assert "failed: the disk is full" in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("command.json", None, "it has no command.json"),
        ("command.json", "{", "its command.json cannot be read"),
        ("command.json", '{"kbuild_run": true}', "settings"),
        ("plan.json", None, "the run has no plan.json"),
        ("plan.json", "[]", "TypeError"),
        ("metrics.json", "\x00", "cannot read"),
        ("metrics.json", "[]", "TypeError"),
        ("history.csv", "epoch,loss\n1,2,3\n", "cannot read"),
    ],
)
def test_damaged_runs_are_listed_as_such(runs: Path, name: str, content: str | None, reason: str) -> None:
    (runs / "a" / name).unlink()
    if content is not None:
        (runs / "a" / name).write_text(content)
    (one,) = list_runs(runs)
    assert one.state == "damaged"
    assert reason in one.error
    assert "damaged: " in render([one])


def test_what_is_no_run_is_not_listed(runs: Path) -> None:
    (runs / "mine").mkdir()
    (runs / "notes.txt").write_text("")
    (runs / "study").mkdir()
    for name in ("study.yaml", "command.json", "resolved.yaml"):
        (runs / "study" / name).write_text("")
    (runs / "begun").mkdir()
    (runs / "begun" / ".lock").write_text("")
    (runs / "gone").symlink_to(runs / "nowhere")
    assert [(one.path.name, one.state) for one in list_runs(runs)] == [("a", "finished"), ("begun", "interrupted")]
    with pytest.raises(InputError, match="there is no folder"):
        list_runs(runs / "nowhere")


def test_the_command(runs: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = (
            "import sys; from kbuild.cli.main import main\ntry: main()\nfinally: assert 'tensorflow' not in sys.modules"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, env=environment, check=False
        )

    done = command("runs", str(runs))
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["state", "finished"]
    assert json.loads(command("runs", str(runs), "--json").stdout)[0]["state"] == "finished"
    assert command("runs", str(runs / "none")).returncode == 2
    (runs / "empty").mkdir()
    assert command("runs", str(runs / "empty")).stdout == f"no runs in {runs / 'empty'}\n"


def test_reproduced(runs: Path) -> None:
    found = reproduce(runs / "a", runs / "again", quiet=True)
    assert found.equal and found.weights.equal and found.optimizer.equal and found.best.equal
    assert found.first_epoch is None
    assert not any(found.differences.values())
    assert "reproduced: the same bits" in found.text()
    assert json.loads(json.dumps(found.to_dict()))["again"] == str(runs / "again")
    assert {one.path.name: one.state for one in list_runs(runs)} == {"a": "finished", "again": "finished"}


def test_not_reproduced(runs: Path) -> None:
    """Other weights, values, versions and data: each is told."""
    run = runs / "a"
    state = run / "checkpoints" / "last" / "state.npz"
    with np.load(state) as archive:
        arrays = {name: archive[name] for name in archive.files}
    first = json.loads(arrays["state"].tobytes())["model"][0]["value"]["array"]
    arrays[first] = np.roll(arrays[first], 4)
    np.savez(state, **arrays)
    history = (run / "history.csv").read_text().splitlines()
    history[2] = history[2].replace("2,", "2,1", 1)
    (run / "history.csv").write_text("\n".join(history) + "\n")
    for name, old, new in [
        ("environment.json", '"keras": "', '"keras": "0.'),
        ("data.json", '"hash": "', '"hash": "0'),
    ]:
        (run / name).write_text((run / name).read_text().replace(old, new, 1))
    found = reproduce(run, quiet=True)
    assert not found.equal
    assert (found.weights.differing, found.optimizer.equal, found.best.equal) == (1, True, True)
    assert found.first_epoch == 2
    assert found.differences["data"] == ["train holds other values in its 1,293 rows"]
    assert len(found.differences["versions and hardware"]) == 1
    assert found.differences["versions and hardware"][0].startswith("keras 0.")
    said = found.text()
    assert "1 of" in said and "differs from epoch 2 on" in said and "not reproduced" in said


def test_what_cannot_be_reproduced(runs: Path) -> None:
    copy(runs, "b", state="interrupted")
    with pytest.raises(InputError, match=r"b is not finished; `kbuild train .*b --resume` goes on with it"):
        reproduce(runs / "b")
    (runs / "a" / "checkpoints" / "last" / "state.npz").unlink()
    with pytest.raises(InputError, match=r"the checkpoint .*state\.npz is missing"):
        reproduce(runs / "a")
    with pytest.raises(InputError, match="there is no run directory"):
        reproduce(runs / "none")
