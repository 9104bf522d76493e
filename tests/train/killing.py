"""Real processes of `kbuild train`, killed and looked at: what the tests of resuming share."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.train.checkpoint import read_state

#: A model whose states take a while to write, beside epochs that do not take long; all that has a state of its own.
SPEC = """\
name: killed
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - Rescaling: 0.0625
  - Flatten
  - Dense: {units: 700, activation: relu}
  - Dense: {units: 700, activation: relu}
  - {Dense: 10, name: out}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  augment: [{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]
  callbacks:
    - {ReduceLROnPlateau: {monitor: val_loss, patience: 2}}
    - {EarlyStopping: {monitor: val_loss, patience: 100, restore_best_weights: true}}
    - {ModelCheckpoint: {filepath: own.keras, save_best_only: true}}
    - {CSVLogger: {filename: own.csv}}
  epochs: 24
  batch_size: 100
  checkpoint_every: 4
"""


def command(spec: Path, run: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "kbuild", "train", str(spec), "--run-dir", str(run), "--resume", *options]


def start(words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(words: Sequence[str], expect: int = 0, **options: Any) -> str:
    """Run to the end; what was printed on both streams."""
    process = start(words, **options)
    out, err = process.communicate(timeout=600)
    assert process.returncode == expect, f"ended with {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err
    return out + err


def wait_for(seen: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> bool:
    """Whether `seen` became true before the process ended."""
    until = time.monotonic() + seconds
    while not seen():
        if process.poll() is not None or time.monotonic() > until:
            return seen()
        time.sleep(0.001)
    return True


def changed(path: Path) -> Callable[[], bool]:
    """Asks whether a file was written since now."""

    def when() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    before = when()
    return lambda: when() != before


def kill_somewhere(words: Sequence[str], run: Path, dice: random.Random) -> str:
    """Start a process and kill it at a random moment; say where: "start", "step", "write", or "" where it was done."""
    where = dice.choice(["start", *["step"] * 5, *["write"] * 4])
    last = run / "checkpoints" / "last"
    began = changed(last / "state.npz")
    process = start(words)
    try:
        if where == "start":
            wait_for(lambda: False, process, dice.uniform(0, 4))
        elif wait_for(began, process):
            if where == "write":
                wait_for(lambda: any(last.glob(".state.npz.tmp-*")), process)
                wait_for(lambda: False, process, dice.uniform(0, 0.02))
            else:
                wait_for(lambda: False, process, dice.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
    finally:
        process.communicate()
    return where if process.returncode == -signal.SIGKILL else ""


def state(run: Path) -> str:
    return str(json.loads((run / "metrics.json").read_text())["state"])


def best_weights(path: Path) -> list[np.ndarray]:
    """Weights of a .keras file; it holds no state of seed generators."""
    from kbuild.train.evaluate import load_keras

    return [variable.numpy() for variable in load_keras(path).weights]


def exported(run: Path) -> list[np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(run / "export" / "saved_model"))
    return [
        np.asarray(values) for values in sorted((v.numpy() for v in loaded.variables), key=lambda v: (v.shape, v.sum()))
    ]


def assert_same_runs(one: Path, other: Path, exact: bool = True) -> None:
    """The same weights, history and best model: to the bit, or within float noise."""

    def same(a: Any, b: Any) -> None:
        if exact:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)

    (state_a, arrays_a), (state_b, arrays_b) = (
        read_state(run / "checkpoints" / "last" / "state.npz") for run in (one, other)
    )
    if exact:
        assert state_a == state_b
        assert arrays_a.keys() == arrays_b.keys()
        for name, values in arrays_a.items():
            np.testing.assert_array_equal(values, arrays_b[name], err_msg=name)
        for file in ("history.csv", "data.json", "logs/own.csv"):
            assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert (state_a["epoch"], state_a["step"]) == (state_b["epoch"], state_b["step"])
    metrics_a, metrics_b = (json.loads((run / "metrics.json").read_text()) for run in (one, other))
    assert metrics_a["state"] == metrics_b["state"] == "finished"
    assert metrics_a["best"].keys() == metrics_b["best"].keys()
    for split, values in metrics_a["metrics"].items():
        same(list(values.values()), list(metrics_b["metrics"][split].values()))
    if exact:
        assert metrics_a["best"] == metrics_b["best"]
    for file in ("best.keras", "own.keras"):
        if (one / "checkpoints" / file).exists():
            for a, b in zip(
                best_weights(one / "checkpoints" / file), best_weights(other / "checkpoints" / file), strict=True
            ):
                same(a, b)
    for a, b in zip(exported(one), exported(other), strict=True):
        same(a, b)


def leftovers(run: Path) -> list[str]:
    """Names of files that were not renamed to what they are."""
    return [str(path.relative_to(run)) for path in run.rglob(".*") if path.name != ".lock"]
