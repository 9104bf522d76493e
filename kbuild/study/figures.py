"""The figures of a study, each as SVG and as PNG. matplotlib is imported when the first one is drawn.

They read without colour: arms differ in line style and marker too. `INK` is the colour of all text and lines that are
no arm's, so that a page can put its own in its place.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.files import write_file, write_text
from kbuild.study.analyse import Analysis
from kbuild.study.record import Record
from kbuild.study.words import number

INK = "#1a1b1c"
#: Colours that colour-blind people tell apart and that stand on white and on black (Okabe & Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#8c6bb1", "#7f7f7f")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Curves in one figure; with more arms only the baseline and those with the best means are drawn.
_MOST_CURVES = 6
#: Letters of a label in a figure, and inches of one.
_LONGEST, _LETTER = 44, 0.075


def draw_figures(result: Analysis, records: dict[str, Record], folder: Path) -> dict[str, str]:
    """Write the figures of a study; return name → SVG text of those that could be drawn."""
    try:
        import matplotlib
    except ImportError:
        return {}
    folder.mkdir(exist_ok=True)
    drawings: dict[str, Callable[[], Any]] = {
        "differences": lambda: _forest(result),
        "curves": lambda: _curves(result, records),
        "values": lambda: _values(result, records),
    }
    made = {}
    for name, draw in drawings.items():
        style = {
            "svg.hashsalt": f"kbuild-{name}", "svg.fonttype": "none", "font.size": 9, "text.color": INK,
            "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        }  # fmt: skip
        with matplotlib.rc_context(style):
            figure = draw()
            if figure is not None:
                made[name] = _save(figure, folder / name)
    return made


def _save(figure: Any, path: Path) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    write_text(path.with_suffix(".svg"), text.getvalue())
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    write_file(path.with_suffix(".png"), lambda stream: stream.write(picture.getvalue()))
    return text.getvalue()


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _names(labels: Sequence[str]) -> dict[str, str]:
    """Label → what a figure has room for: long ones lose their middle, and have the number of their row in the table.

    >>> list(_names(["W-A rate=0.1", "W-A optimizer={Adam: {learning_rate: 0.001, beta_1: 0.9}}"]).values())
    ['W-A rate=0.1', 'row 2: W-A optimizer={Adam: {…, beta_1: 0.9}}']
    """
    return {
        label: label if len(label) <= _LONGEST else f"row {at}: {label[:22]}…{label[-15:]}"
        for at, label in enumerate(labels, 1)
    }


def _named(result: Analysis) -> dict[str, str]:
    return _names([arm.label for arm in result.arms])


def _bare(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, color=INK, linewidth=0.5)
    axis.set_axisbelow(True)


def _forest(result: Analysis) -> Any:
    """Paired differences to the baseline with their intervals: filled where called, hollow where not."""
    design = result.design
    rows = [(arm, arm.against[design.metric]) for arm in result.arms if design.metric in arm.against]
    rows = [(arm, found) for arm, found in rows if found.difference is not None]
    if not rows:
        return None
    names = _named(result)
    figure = _figure(7.2, 1.25 + 0.36 * len(rows))
    axis = figure.add_subplot()
    for at, (_, found) in enumerate(reversed(rows)):
        called = found.verdict in ("better", "worse")
        colour = COLOURS[0] if found.verdict == "better" else COLOURS[1] if found.verdict == "worse" else INK
        if found.low is not None and found.high is not None:
            axis.plot(
                [found.low, found.high], [at, at], color=colour, linewidth=2 if called else 1.2, solid_capstyle="butt"
            )
        marker = {"better": ">", "worse": "<"}.get(found.verdict, "o")
        marker = marker if design.direction == "max" or not called else {">": "<", "<": ">"}[marker]
        axis.plot(
            found.difference, at, marker, color=colour, markerfacecolor=colour if called else "white", markersize=7
        )
        text = f"{number(found.difference, True)}  {found.verdict}"
        axis.annotate(text, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=INK)
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_yticks(range(len(rows)), [names[arm.label] for arm, _ in reversed(rows)])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    better = "right" if design.direction == "max" else "left"
    base = names[design.baseline]
    axis.set_xlabel(f"difference in {design.metric} to {base}\n(better is to the {better}; line: {_percent(result)})")
    _bare(axis)
    return figure


def _percent(result: Analysis) -> str:
    return f"{100 * (1 - result.design.alpha):g} % t interval"


def _shown(result: Analysis) -> list[str]:
    """The arms whose curves are drawn."""
    metric, sign = result.design.metric, -1 if result.design.direction == "max" else 1
    ranked = sorted(
        result.arms, key=lambda arm: (arm.label != result.design.baseline, sign * arm.mean.get(metric, math.inf))
    )
    chosen = {arm.label for arm in ranked[:_MOST_CURVES]}
    return [arm.label for arm in result.arms if arm.label in chosen]


def _curves(result: Analysis, records: dict[str, Record]) -> Any:
    """Mean over seeds per epoch, the band one standard deviation to both sides."""
    metrics = dict.fromkeys([result.design.metric, "val_loss"])
    by_arm: dict[str, list[Record]] = {}
    for record in records.values():
        by_arm.setdefault(record.arm, []).append(record)
    known = [metric for metric in metrics if any(metric in record.history for record in records.values())]
    if not known:
        return None
    names = _named(result)
    entry = 0.7 + _LETTER * max(len(names[label]) for label in _shown(result))  # inches of one in the legend
    width = max(4.4 * len(known), entry)
    figure = _figure(width, 3.4)
    for axis, metric in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        for at, label in enumerate(_shown(result)):
            table = _table([record.history.get(metric, []) for record in by_arm.get(label, [])])
            if not table.size:
                continue
            epochs = np.arange(1, table.shape[1] + 1)
            mean = np.nanmean(table, axis=0)
            spread = np.nanstd(table, axis=0)
            look = {"color": COLOURS[at], "linestyle": _STYLES[at], "marker": _MARKERS[at], "markersize": 4}
            axis.plot(epochs, mean, label=names[label], linewidth=1.5, markevery=max(1, len(epochs) // 8), **look)
            axis.fill_between(epochs, mean - spread, mean + spread, color=COLOURS[at], alpha=0.14, linewidth=0)
        axis.set_xlabel("epoch")
        axis.set_title(metric, fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.get_xlim()[1] < 2:
            axis.set_xlim(0.5, 1.5)
        _bare(axis)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = min(4, max(1, len(labels)), max(1, int(width / entry)))
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=columns)
    return figure


def _table(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Curves of one length, padded with NaN where a trial stopped early; columns without any value are cut."""
    longest = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), longest), math.nan)
    for at, row in enumerate(rows):
        table[at, : len(row)] = [math.nan if value is None else value for value in row]
    return table[:, ~np.all(np.isnan(table), axis=0)] if table.size else table


def _values(result: Analysis, records: dict[str, Record]) -> Any:
    """Every trial's value, one column per arm; a thin line joins the trials of a seed."""
    metric = result.design.metric
    if not any(record.finished for record in records.values()):
        return None
    width = max(4.5, 1.1 * len(result.arms) + 1)
    figure = _figure(width, 3.2)
    axis = figure.add_subplot()
    labels = [arm.label for arm in result.arms]
    for seed in result.design.seeds:
        row = {
            record.arm: record.metrics[metric] for record in records.values() if record.seed == seed and record.finished
        }
        values = [row.get(label, math.nan) for label in labels]
        axis.plot(range(len(labels)), values, color=INK, alpha=0.25, linewidth=0.8, marker="o", markersize=3)
    means = [arm.mean.get(metric, math.nan) if arm.counts.get("finished") else math.nan for arm in result.arms]
    axis.plot(range(len(labels)), means, "_", color=COLOURS[1], markersize=26, markeredgewidth=2.5)
    names = list(_named(result).values())
    long = _LETTER * max(map(len, names)) > (width - 1) / len(names)
    axis.set_xticks(range(len(names)), names, rotation=30 if long else 0, ha="right" if long else "center")
    axis.set_xlim(-0.6, len(labels) - 0.4)
    axis.set_ylabel(metric)
    _bare(axis)
    return figure
