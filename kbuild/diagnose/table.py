"""A diagnosis as a table on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbuild.diagnose.words import paragraph

if TYPE_CHECKING:
    from kbuild.diagnose.diagnosis import Diagnosis, Norm

COLUMNS = (
    "normalization",
    "ratio",
    "largest",
    "real/moving",
    "Δ expected",
    "mean shift",
    "start left",
    "small γ",
    "dead",
    "ratio after",
)


def rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """One row per normalization, in the order of COLUMNS."""
    return [_row(one, other) for one, other in zip(found.before, found.after, strict=True)]


def _row(one: Norm, after: Norm) -> tuple[str, ...]:
    expected = "" if one.predicted is None else f"{'≥ ' if one.predicted.through else ''}{one.predicted.delta:.3f}"
    return (
        one.name,
        f"{one.ratio:.3f}",
        f"{one.largest:.3f}",
        f"{one.shift:.3f}",
        expected,
        f"{one.mean_shift:.3f}",
        f"{one.remaining:.1e}" if one.remaining < 0.001 else f"{one.remaining:.1%}",
        f"{one.small_gamma}/{one.channels}",
        f"{one.dead}/{one.channels}",
        f"{after.ratio:.3f}",
    )


def metric_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """What was evaluated, each metric as it is and after recalibration."""
    names = {"training": "training data, as it trains", "inference": "training data, as it predicts"}
    return [
        (names.get(split, f"{split} data, as it predicts"), metric, f"{value:.4f}", f"{after[metric]:.4f}")
        for split, values in found.metrics.items()
        for after in [found.metrics_after[split]]
        for metric, value in sorted(values.items(), key=lambda item: item[0] != "loss")
    ]


def render(found: Diagnosis, width: int = 100) -> str:
    """Both tables and the paragraph."""
    head = f"{found.name}, {found.order}, over {found.rows:,} training examples"
    metrics = _aligned([("evaluated on", "metric", "as it is", "recalibrated"), *metric_rows(found)])
    text = textwrap.fill(paragraph(found), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join([head, "", _aligned([COLUMNS, *rows(found)]), "", metrics, "", text])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
