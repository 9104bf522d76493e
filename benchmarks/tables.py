"""Training on a CSV file of numbers and categories, raw rows in, against what Keras' guides write for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import BENCH_PYTHON, Figures, in_turn, worker
from benchmarks.report import section, table

#: Rows to train on and to test with.
ROWS, HELD = 32_000, 8_000

#: Column → the values it draws from; the numbers are normal.
CATEGORIES = {
    "job": [f"job {i}" for i in range(14)],
    "education": [f"education {i}" for i in range(16)],
    "status": [f"status {i}" for i in range(7)],
    "city": [f"city {i}" for i in range(300)],
}
NUMBERS = ("age", "hours", "years", "gain", "loss")
TARGET, CLASSES = "income", ("high", "low")

SPEC = f"""\
input:
  table:
    numeric: [{", ".join(NUMBERS)}]
    category:
{"".join(f"      {name}: {len(values) + 1}{chr(10)}" for name, values in CATEGORIES.items())}\
ordering: {{order: W-N-A-D, dropout: 0.1}}
layers:
  - Dense: {{units: 128, activation: relu}}
  - Dense: {{units: 64, activation: relu}}
  - Dense: 2
train:
  data: {{csv: train.csv, y: {TARGET}, test: test.csv}}
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  validation: 0
  batch_size: 128
"""

_CONTESTANTS = {
    "kbuild train": ("kbuild",),
    "kbuild, 1 mirrored replica": ("kbuild", "--strategy", "mirrored:1"),
    "kbuild, 2 mirrored replicas": ("kbuild", "--strategy", "mirrored:2"),
    "Keras `fit` on tensors": ("arrays",),
    "Keras `fit` on `make_csv_dataset`": ("pipeline",),
}


def tables(repetitions: int, rows: int = ROWS, epochs: int = 4) -> str:
    """Rows per second of training."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "train.csv", rows, 0)
        write(Path(place) / "test.csv", max(100, rows * HELD // ROWS), 1)
        words = (place, "--epochs", epochs)
        contestants: dict[str, Callable[[int], Figures]] = {
            name: lambda seed, kind=kind: worker("tables", *kind, *words, "--seed", seed)
            for name, kind in _CONTESTANTS.items()
        }
        if BENCH_PYTHON.exists():
            contestants["PyTorch, eager"] = lambda seed: worker(
                "torch_table", *words, "--seed", seed, python=BENCH_PYTHON
            )
        results = in_turn(contestants, repetitions)
    ours = results["kbuild train"]
    lines = []
    for name, result in results.items():
        ratio = ours.median("rows_per_second") / result.median("rows_per_second")
        accuracy = ", ".join(f"{100 * value:.2f}" for value in result.values("accuracy"))
        lines.append([name, f"{1 / ratio:.2f}", f"{ratio:.2f}", accuracy])
    text = (
        f"A CSV file of {rows:,} rows, {len(NUMBERS)} numbers and {len(CATEGORIES)} categories of "
        f"{min(map(len, CATEGORIES.values()))} to {max(map(len, CATEGORIES.values()))} texts, {epochs} epochs of "
        "batches of 128: numbers normalized and texts looked up inside the model, which takes raw rows. Keras has the "
        "same layers by hand; its tensors are read beforehand (its arrays cannot mix texts and numbers), its pipeline "
        "reads the file in every epoch, as TensorFlow's guide to CSV does. PyTorch has no such layers: its rows are "
        "normalized and encoded beforehand, and its model takes no raw rows."
    )
    columns = ["trainer", "rows/s, kbuild = 1", "kbuild is faster by", "test accuracy, %"]
    return section("Training on a table", text, table(columns, lines))


def write(path: Path, rows: int, seed: int) -> None:
    """Write rows whose target depends on all columns."""
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(rows, len(NUMBERS)))
    codes = {name: draw.integers(len(values), size=rows) for name, values in CATEGORIES.items()}
    score = numbers.sum(1) + sum(np.sin(code) for code in codes.values()) + draw.normal(size=rows) * 0.5
    lines = [",".join((*NUMBERS, *CATEGORIES, TARGET))]
    for at in range(rows):
        cells = [f"{value:.4f}" for value in numbers[at]]
        cells += [CATEGORIES[name][codes[name][at]] for name in CATEGORIES]
        lines.append(",".join((*cells, CLASSES[int(score[at] < 0)])))
    path.write_text("\n".join(lines) + "\n", "utf-8")
