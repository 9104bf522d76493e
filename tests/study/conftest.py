"""Fixtures of the study tests: a small spec on `digits`, a worker that trains nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbuild.study.asked import Asked, make_design
from kbuild.study.folder import Folder, make_folder
from kbuild.study.processes import Processes

SPEC = """\
name: small
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - Rescaling: 0.0625
  - Flatten
  - Dense: {units: 16, activation: relu}
  - {Dense: 10, name: out}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  epochs: 1
  batch_size: 100
"""

#: A worker that answers at once: values follow from arm and seed. Files named `fail-TRIAL` in the study's directory
#: make it fail: with the state in the file, by a signal (`kill`), by hanging (`hang`), or for the question's sake
#: (`not_measured`); each failure happens once, unless the file says `always`.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path
from kbuild.study.folder import open_folder
from kbuild.study.record import Record, Task, failed, write_record
folder = open_folder(Path(sys.argv[1]))
trials = {trial.id: trial for trial in folder.design().trials}
(folder.path / f"worker-{os.getpid()}").write_text("")
print(json.dumps({"ready": True, "environment": {"python": "3", "versions": {"kbuild": "0"}}}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    trial = trials[task["trial"]]
    with (folder.path / "begun.txt").open("a") as stream:
        stream.write(trial.id + "\\n")
    wish = folder.path / f"fail-{trial.id}"
    words = wish.read_text().split() if wish.exists() else []
    if words and "always" not in words:
        wish.unlink()
    if "kill" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    while "hang" in words:
        time.sleep(0.05)
    if "not_measured" in words:
        print(json.dumps({"not_measured": "there is no val_typo"}), flush=True)
        continue
    if words:
        record = failed(trial, words[0], f"it was {words[0]}")
    else:
        value = 0.9 + len(trial.arm) / 1000 + trial.seed / 100
        curve = {"val_accuracy": [value - 0.1, value], "val_loss": [0.5, 1 - value]}
        metrics = {"val_accuracy": value, "val_loss": 1 - value, "test_accuracy": value - 0.01}
        record = Record(trial.id, trial.arm, trial.seed, metrics=metrics, history=curve, epochs=2)
    record = Task(trial, tuple(task["earlier"])).told(record)
    if record.settled:
        write_record(folder.path, record)
    print(json.dumps({"record": record.to_dict()}), flush=True)
"""


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.fixture
def begun(tmp_path: Path, spec_path: Path) -> Callable[..., tuple[Folder, Any]]:
    """A name and options of `Asked` → the directory of a study that has not run, and its design."""

    def make(name: str = "study", **asked: Any) -> tuple[Folder, Any]:
        question = Asked(**{"orderings": ("W-N-A-D", "W-A"), "seeds": (0, 1, 2), **asked})
        spec, design, _ = make_design(spec_path, question)
        folder = make_folder(design.name, tmp_path / name, False)
        folder.write(spec, design, question.words())
        return folder, design

    return make


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[Folder, int], Processes]:
    """A directory and a number → an executor of that many workers that train nothing."""
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE, encoding="utf-8")
    return lambda folder, workers: Processes(folder.path, workers, command=(sys.executable, str(script)))
