"""Real processes of `kbuild train`, killed and looked at: what the tests of resuming share."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.train.checkpoint import read_state
from tests.train.test_image_folder import encode

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

#: Columns of a table, and layers of every kind that learn from them before the first step.
TABLE = """\
name: table
inputs:
  age: {shape: [1]}
  hours: {shape: [1]}
  city: {shape: [1], dtype: string}
  about: {shape: [], dtype: string}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - {Concatenate: , from: [age, hours], name: numbers}
  - {Normalization: , name: scaled}
  - {StringLookup: {max_tokens: 30, pad_to_max_tokens: true, output_mode: one_hot}, name: cities, from: city}
  - {TextVectorization: {max_tokens: 90, pad_to_max_tokens: true, output_mode: tf_idf}, name: words, from: about}
  - {Concatenate: , from: [scaled, cities, words]}
  - Dense: {units: 400, activation: relu}
  - Dense: {units: 400, activation: relu}
  - {Dense: 2, name: out}
train:
  data: {csv: people.csv, y: income, sample_weight: weight}
  loss: sparse_categorical_crossentropy
  optimizer: {AdamW: {weight_decay: 0.01, global_clipnorm: 1, use_ema: true, gradient_accumulation_steps: 3}}
  metrics: [accuracy]
  weighted_metrics: [accuracy]
  class_weight: {1: 1.5}
  precision: mixed_bfloat16
  callbacks:
    - {EarlyStopping: {monitor: val_loss, patience: 100, restore_best_weights: true}}
    - {ModelCheckpoint: {filepath: own.keras, save_best_only: true}}
    - {CSVLogger: {filename: own.csv}}
  epochs: 10
  batch_size: 500
  checkpoint_every: 7
"""

#: The same table in another kind of file.
PARQUET = TABLE.replace("csv: people.csv", "parquet: people.parquet")

#: A folder of images, read as they are asked for.
IMAGES = SPEC.replace("data: digits", "data: {image_folder: images, color: grayscale}").replace(
    "epochs: 24", "epochs: 6"
)

#: A process that holds nothing in memory that can stay in its files.
STREAMED = "from kbuild.train.data import memory; memory.RESIDENT_SHARE = 0; from kbuild.cli.main import main; main()"


def write_people(path: Path, rows: int = 20_000) -> None:
    """A table whose rows follow from their numbers."""
    dice = np.random.default_rng(0)
    ages, hours, weights = dice.integers(17, 90, rows), dice.normal(40, 10, rows).round(1), dice.uniform(0.5, 2, rows)
    cities, words = dice.integers(0, 60, rows), dice.integers(0, 150, (rows, 8))
    lines = ["age,hours,city,about,weight,income"]
    for at in range(rows):
        income = "high" if ages[at] + hours[at] + cities[at] % 7 > 95 else "low"
        about = " ".join(f"w{word}" for word in words[at])
        lines.append(f"{ages[at]},{hours[at]},city {cities[at]},{about},{weights[at]:.3f},{income}")
    path.write_text("\n".join(lines) + "\n")


def write_parquet(path: Path) -> None:
    """The table of `write_people`, its numbers and texts as Parquet keeps them."""
    from pyarrow import csv, parquet

    write_people(path.with_suffix(".csv"))
    parquet.write_table(csv.read_csv(path.with_suffix(".csv")), path, row_group_size=3_000)
    path.with_suffix(".csv").unlink()


def write_images(folder: Path, rows: int = 600) -> None:
    """The first of the shipped digits as files, a folder for each class."""
    with np.load(files("kbuild") / "data" / "digits.npz") as digits:
        for at, (pixels, label) in enumerate(zip(digits["x_train"][:rows], digits["y_train"], strict=False)):
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            (folder / str(label) / f"{at}.png").write_bytes(encode(pixels[..., None]))


def kbuild(streamed: bool = False) -> list[str]:
    return [sys.executable, *(["-c", STREAMED] if streamed else ["-m", "kbuild"])]


def command(spec: Path, run: Path, *options: str, streamed: bool = False) -> list[str]:
    return [*kbuild(streamed), "train", str(spec), "--run-dir", str(run), "--resume", *options]


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


#: Where kills fall, as often as they are named.
PLACES = ("start", *["step"] * 5, *["write"] * 4)


def kill_somewhere(words: Sequence[str], run: Path, dice: random.Random, places: Sequence[str] = PLACES) -> str:
    """Start a process and kill it at a random moment; say where, or "" where it was done.

    Args:
        places: "start", "learn" (the model is built, and layers learn from the data), "step" or "write".
    """
    where = dice.choice(places)
    last = run / "checkpoints" / "last"
    began, opened, learnt = (changed(path) for path in (last / "state.npz", run / "metrics.json", run / "data.json"))
    process = start(words)
    try:
        if where == "start":
            wait_for(lambda: False, process, dice.uniform(0, 4))
        elif where == "learn":
            wait_for(opened, process)
            where = "start" if wait_for(learnt, process, dice.uniform(0, 1)) else where
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
