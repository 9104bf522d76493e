"""Trials per minute of a study, against training them one by one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Figures, in_turn, process, worker
from benchmarks.report import claim, section, table

#: A study of 16 trials: four orders, four seeds, `specs/digits.yaml`.
ORDERS, SEEDS, EPOCHS = ("W-N-A-D", "W-A-D-N", "W-A-N-D", "W-N-A"), 4, 10
#: Processes of `kbuild train` that stand for all 16; they differ by the order alone.
_PROCESSES = 4


def study(repetitions: int) -> str:
    """Whole processes, start and report included."""
    trials = len(ORDERS) * SEEDS
    kbuild = [sys.executable, "-m", "kbuild"]

    def ours(_: int) -> Figures:
        with tempfile.TemporaryDirectory() as place:
            asked = [
                "--policies",
                ",".join(ORDERS),
                "--seeds",
                SEEDS,
                "--epochs",
                EPOCHS,
                "--run-dir",
                f"{place}/study",
            ]
            return process([*kbuild, "study", "specs/digits.yaml", *map(str, asked), "--quiet"], 0)

    def one_by_one(seed: int) -> Figures:
        with tempfile.TemporaryDirectory() as place:
            seconds = 0.0
            for order in ORDERS[:_PROCESSES]:
                asked = ["--ordering", order, "--seed", seed, "--epochs", EPOCHS, "--run-dir", Path(place) / order]
                seconds += process([*kbuild, "train", "specs/digits.yaml", *map(str, asked), "--quiet"], 0)["seconds"]
            return {"seconds": seconds * trials / _PROCESSES}

    def keras(_: int) -> Figures:
        words = ["--orders", ",".join(ORDERS), "--seeds", SEEDS, "--epochs", EPOCHS]
        return {"seconds": worker("keras_trials", *words)["seconds"]}

    contestants = {"kbuild study": ours, "a Keras script in one process": keras, "kbuild train, 16 times": one_by_one}
    results = in_turn(contestants, repetitions)
    promised = {"a Keras script in one process": 2.0, "kbuild train, 16 times": 5.0}
    best = results["kbuild study"].median("seconds")
    rows = []
    for name, result in results.items():
        seconds = result.median("seconds")
        held = claim(seconds / best, promised[name], at_most=False) if name in promised else ""
        rows.append([name, f"{60 * trials / seconds:.0f}", f"{seconds / best:.1f}", held])
    text = (
        f"{trials} trials: {len(ORDERS)} orders of `specs/digits.yaml`, {SEEDS} seeds, {EPOCHS} epochs. "
        f"A worker per core; whole processes, start and report included. {_PROCESSES} processes of `kbuild train`, "
        f"which also export and prove a SavedModel each, are timed and counted {trials // _PROCESSES} times."
    )
    return section("Studies", text, table(["way", "trials per minute", "kbuild study is faster by", "promised"], rows))
