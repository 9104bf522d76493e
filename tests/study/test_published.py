"""The tables of studies in the manual say what their trials say, by other means than those of `kbuild study`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"^\| policy \| val_.*\n\| ---.*\n(?:\|.*\n)+", re.M)
TRIALS = re.compile(r"\((\S*studies/\S+/results\.csv)\)")


def tables() -> Iterator[tuple[str, Path, list[dict[str, str]]]]:
    """Every table with the page it stands on and the trials that the page names behind it."""
    for page in (DOCS / "guide.md", *sorted((DOCS / "papers").glob("*.md"))):
        text = page.read_text("utf-8")
        for found in TABLE.finditer(text):
            lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].strip().splitlines()]
            trials = TRIALS.search(text, found.end())
            assert trials is not None
            rows = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
            yield trials[1].split("/")[-2], page.parent / trials[1], rows


EVERY = list(tables())


def holm(values: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    raised = [min(1.0, (len(values) - rank) * values[at]) for rank, at in enumerate(order)]
    found = dict(zip(order, np.maximum.accumulate(raised), strict=True))
    return [found[at] for at in range(len(values))]


def sign_flip(pair: np.ndarray) -> float:
    """Accuracies are multiples of 1/examples in float32, whose rounding would break ties."""
    even = np.round(pair, 6)
    return float(stats.permutation_test((even,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue)


def test_every_study_has_its_table() -> None:
    assert {name for name, _, _ in EVERY} == {path.name for path in (DOCS / "studies").iterdir()}


@pytest.mark.parametrize(("trials", "rows"), [one[1:] for one in EVERY], ids=[one[0] for one in EVERY])
def test_a_table_says_what_its_trials_say(trials: Path, rows: list[dict[str, str]]) -> None:
    values: dict[str, list[dict[str, str]]] = {}
    with trials.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            assert row["state"] == "finished"
            values.setdefault(row["policy"], []).append(row)
    metric = next(name for name in rows[0] if name.startswith("val_"))

    def of(label: str, name: str = metric) -> np.ndarray:
        plain, recalibrated, _ = label.partition(", recalibrated")
        known = label if label in values else f"{plain} recalibrate={'true' if recalibrated else 'false'}"
        seeds = sorted(values[known], key=lambda row: int(row["seed"]))
        assert [row["seed"] for row in seeds] == [str(seed) for seed in range(len(seeds))]
        return np.array([float(row[name]) for row in seeds])

    def told(label: str, name: str) -> str:
        return f"{of(label, name).mean():.4f} ± {of(label, name).std(ddof=1):.4f}"

    assert len(rows) == len(values)
    pairs = [of(row["policy"]) - of(rows[0]["policy"]) for row in rows[1:]]
    corrected = holm([sign_flip(pair) for pair in pairs])
    for row in rows:
        assert row[metric] == told(row["policy"], metric)
        assert row["test_accuracy"] == told(row["policy"], "test_accuracy")
    for row, pair, p in zip(rows[1:], pairs, corrected, strict=True):
        low, high = stats.ttest_1samp(pair, 0).confidence_interval(0.95)
        assert row["difference"] == f"{pair.mean():+.4f}"
        assert row["95 % interval"] == f"{low:+.4f} to {high:+.4f}"
        assert row.get("p (Holm)", row.get("p")) == f"{p:.3f}"
        better = (pair.mean() < 0) == (metric == "val_loss")
        assert row["verdict"] == (("better" if better else "worse") if p < 0.05 else "not distinguishable")
