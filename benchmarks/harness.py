"""Runs contestants in turn, each in its own process, and keeps what they report."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BENCH_PYTHON = ROOT / ".venv-bench/bin/python"

Figures = dict[str, float]


@dataclass(frozen=True)
class Result:
    """What one contestant reported, one entry per repetition."""

    runs: tuple[Figures, ...]

    def values(self, key: str) -> list[float]:
        return [run[key] for run in self.runs]

    def median(self, key: str) -> float:
        return statistics.median(self.values(key))


def environment() -> dict[str, str]:
    """Of the processes that are measured; they keep their byte code, as everybody's do."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


def worker(name: str, *words: object, python: str | Path = sys.executable) -> Figures:
    """Run `benchmarks.workers.NAME` and read its line of JSON.

    Raises:
        RuntimeError: it failed; the message is the last line it wrote.
    """
    command = [str(python), "-m", f"benchmarks.workers.{name}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{name}: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def process(command: Sequence[str | Path], expect: int) -> Figures:
    """Seconds that a whole process takes, which has to end with the exit code `expect`."""
    begun = time.perf_counter()
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env=environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode != expect:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr[-500:]}")
    return {"seconds": seconds}


def in_turn(contestants: Mapping[str, Callable[[int], Figures]], repetitions: int) -> dict[str, Result]:
    """Each contestant, a function of the repetition's number, once per repetition, in turn."""
    runs: dict[str, list[Figures]] = {name: [] for name in contestants}
    for repetition in range(repetitions):
        for name, run in contestants.items():
            runs[name].append(run(repetition))
            print(f"  {repetition + 1}/{repetitions} {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    return {name: Result(tuple(values)) for name, values in runs.items()}
