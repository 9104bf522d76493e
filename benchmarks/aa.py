"""`python -m benchmarks.aa`: how often a study calls a difference between a policy and itself, in real trainings.

A policy under two names is one model, which a study runs once. Here its seeds make the two names: one study trains
every arm with many seeds; of its trials ten are called "one" and ten others "another", and the analysis of every
study compares the two. Printed as Markdown, for `docs/study.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import table
from kbuild.study.analyse import analyse
from kbuild.study.asked import Asked
from kbuild.study.design import Arm, Design
from kbuild.study.record import Record
from kbuild.study.study import run_study

ARMS = ("W-N-A-D", "W-A-D-N")
METRICS = {"val_accuracy": "max", "val_loss": "min"}
#: Pairs of a comparison, and comparisons for which an arm has seeds.
PAIRS, REPETITIONS = 10, 20
#: A multilayer perceptron on digits: a trial of it takes tens of milliseconds.
SPEC = """\
name: aa
input: {shape: [8, 8, 1]}
ordering: W-N-A-D
layers:
  - Rescaling: 0.0625
  - Flatten
  - Dense: {units: 32, activation: relu}
  - Dense: 10
train:
  data: digits
  loss: sparse_categorical_crossentropy
  optimizer: {Adam: {learning_rate: 0.01}}
  metrics: [accuracy]
  epochs: 3
  batch_size: 64
"""


@dataclass(frozen=True)
class Count:
    """Of `repetitions` comparisons of a policy with itself, those that `called` a difference, and those whose interval
    holds the true difference, 0 (`cover`)."""

    repetitions: int
    called: int
    cover: int


def compared(records: list[Record], metric: str, direction: str, repetitions: int) -> Count:
    """Compare disjoint groups of trials of one arm, 2 × PAIRS for each repetition, with the analysis of a study."""
    called = cover = 0
    for group in _groups(records, repetitions):
        names = ("one", "another")
        arms = tuple(Arm(name, name, order="W", fingerprint=name) for name in names)
        design = Design("aa", arms, tuple(range(PAIRS)), names[0], metric, direction)
        renamed = {
            trial.id: replace(record, trial=trial.id, arm=trial.arm, seed=trial.seed)
            for trial, record in zip(design.trials, group, strict=True)
        }
        found = analyse(design, renamed).arm(names[1]).against[metric]
        called += found.verdict in ("better", "worse")
        cover += found.low is not None and found.high is not None and found.low <= 0 <= found.high
    return Count(repetitions, called, cover)


def _groups(records: list[Record], repetitions: int) -> Iterator[list[Record]]:
    for start in range(0, 2 * PAIRS * repetitions, 2 * PAIRS):
        yield records[start : start + 2 * PAIRS]


def most(repetitions: int, rate: float = 0.05) -> int:
    """The most hits of so many that 99 of 100 runs of this benchmark have where a hit has the probability `rate`."""
    from scipy import stats

    return int(stats.binom.ppf(0.99, repetitions, rate))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="comparisons per policy and metric")
    times = parser.parse_args().repetitions
    with TemporaryDirectory() as place:
        spec = Path(place) / "aa.yaml"
        spec.write_text(SPEC, "utf-8")
        asked = Asked(orderings=ARMS, seeds=tuple(range(2 * PAIRS * times)))
        records = run_study(spec, asked, run_dir=Path(place) / "study", quiet=True).records.values()
    lines = []
    for metric, direction in METRICS.items():
        counts = []
        for arm in ARMS:
            finished = [one for one in records if one.arm == arm and one.finished]
            if len(finished) < 2 * PAIRS * times:
                sys.exit(f"{arm}: only {len(finished)} trials finished")
            counts.append(compared(finished, metric, direction, times))
            lines.append(_line(arm, metric, counts[-1]))
        lines.append(
            _line("together", metric, Count(*(sum(values) for values in zip(*map(astuple, counts), strict=True))))
        )
    columns = ["policy against itself", "decided by", "comparisons", "called different", "intervals that hold 0"]
    print(table(columns, lines))


def _line(arm: str, metric: str, count: Count) -> list[str]:
    called = f"{count.called} (at most {most(count.repetitions)})"
    cover = f"{count.cover} (at least {count.repetitions - most(count.repetitions)})"
    return [arm, metric, str(count.repetitions), called, cover]


if __name__ == "__main__":
    main()
