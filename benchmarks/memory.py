"""Memory that training on a file twice as large as the memory allowed takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import in_turn, worker
from benchmarks.report import claim, section, table

#: Bytes that a contestant may take beside what it has when it begins; the data are twice as many.
ALLOWED = 256 * 2**20

_PIXELS = 784
_CONTESTANTS = {"kbuild train": "kbuild", "Keras `fit(numpy)`": "keras"}


def memory(repetitions: int, allowed: int = ALLOWED) -> str:
    """Peak memory beside what a process has before it trains, as a share of the data set."""
    with tempfile.TemporaryDirectory() as place:
        rows = write(Path(place), 2 * allowed)
        contestants = {
            name: lambda _, word=word: worker("memory", word, place, allowed) for name, word in _CONTESTANTS.items()
        }
        results = in_turn(contestants, min(repetitions, 3))
    lines = []
    for name, result in results.items():
        if not all(result.values("trained")):
            lines.append([name, "does not fit", "", ""])
            continue
        share = result.median("peak") / (2 * allowed)
        lines.append([name, "trains", f"{share:.2f}", claim(share, 0.5, at_most=True)])
    text = (
        f"An MLP on {rows:,} rows of {_PIXELS} float32 in .npy files, one epoch, in a process that may take half as "
        f"much memory as the data set has bytes ({allowed // 2**20} of {2 * allowed // 2**20} MiB, RLIMIT_DATA), "
        "beside what it has when the data are opened. The peak is that of the resident set, pages of files included."
    )
    columns = ["contestant", "under the limit", "peak, data set = 1", "promised"]
    return section("Memory for a data set twice the memory allowed", text, table(columns, lines))


def write(folder: Path, size: int) -> int:
    """Write about `size` bytes of examples; return the number of rows."""
    rows = size // (_PIXELS * 4)
    random = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x_train.npy", mode="w+", dtype="float32", shape=(rows, _PIXELS))
    for start in range(0, rows, 4096):
        part = x[start : start + 4096]
        part[:] = random.random(part.shape, "float32")
    x.flush()
    np.save(folder / "y_train.npy", random.integers(0, 10, rows))
    return rows
