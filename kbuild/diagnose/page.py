"""A diagnosis as one self-contained HTML page: the paragraph, the tables, and a plot per normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from kbuild.diagnose.statistics import SILENT
from kbuild.diagnose.table import COLUMNS, metric_rows, rows
from kbuild.diagnose.words import paragraph

if TYPE_CHECKING:
    from kbuild.diagnose.diagnosis import Diagnosis, Norm

#: Channels drawn per plot; of more, some are taken, evenly spread over the sorted ones.
DRAWN = 200
#: Powers of two above and below 1 that a plot shows at most.
REACH = 3
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 220, 40, 24, 10

STYLE = """
:root { --ink: #1f2430; --dim: #687085; --paper: #ffffff; --line: #d5d9e2; --moving: #7a8296; --real: #c2410c;
        --after: #0f766e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ee; --dim: #9aa2b5; --paper: #16181d; --line: #353a46; --moving: #8d95a8; --real: #fb923c;
          --after: #2dd4bf; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--dim); font-weight: 500; }
figure { margin: 1.5rem 0; }
figcaption { color: var(--dim); }
svg { max-width: 100%; height: auto; }
svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.key::before { content: "■ "; }
"""


def render(found: Diagnosis) -> str:
    """The page."""
    title = escape(f"{found.name}: statistics of batch normalization")
    plots = "\n".join(_figure(one, after) for one, after in zip(found.before, found.after, strict=True))
    metrics = [("evaluated on", "metric", "as it is", "recalibrated"), *metric_rows(found)]
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>{escape(found.order)}, over {found.rows:,} training examples, {found.steps:,} training steps.</p>
<p>{escape(paragraph(found))}</p>
{_table([COLUMNS, *rows(found)])}
{_table(metrics)}
<h2>Real variance over moving variance, per channel</h2>
<p>Channels from the smallest moving variance to the largest, on a logarithmic scale, where what lies further out stands
at the edge: <span class="key" style="color: var(--real)">as it is</span>,
<span class="key" style="color: var(--after)">after recalibration</span>. At 1 inference meets the variance that BN
divides by. The dashed line is the Δ that the dropout in front makes one expect.</p>
{plots}
</body>
</html>
"""


def _table(lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in lines[0])
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines[1:])
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _figure(one: Norm, after: Norm) -> str:
    order = sorted(range(one.channels), key=lambda channel: one.moving_variance[channel])
    if len(order) > DRAWN:
        order = [order[round(place * (len(order) - 1) / (DRAWN - 1))] for place in range(DRAWN)]
    series = [(_quotients(norm, order), colour) for norm, colour in ((one, "real"), (after, "after"))]
    far = max((abs(math.log2(value)) for values, _ in series for value in values if value), default=1)
    top = min(REACH, max(1, math.ceil(far)))

    def y(value: float) -> float:
        share = (top - min(top, max(-top, math.log2(value)))) / (2 * top)
        return TOP + (HEIGHT - TOP - BOTTOM) * share

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - 8) * ((place + 0.5) / len(order))

    parts = []
    for power in range(-top, top + 1):
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        parts.append(_line(y(2.0**power), "moving" if power == 0 else "line"))
        parts.append(f'<text x="{LEFT - 6}" y="{y(2.0**power) + 4:.1f}" text-anchor="end">{label}</text>')
    if one.predicted is not None and one.predicted.through is None:
        parts.append(_line(y(one.predicted.delta), "ink", ' stroke-dasharray="6 4"'))
    parts += [
        f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="2.2" fill="var(--{colour})"/>'
        for values, colour in series
        for place, value in enumerate(values)
        if value
    ]
    about = f"ratio {one.ratio:.3f}, after recalibration {after.ratio:.3f}"
    return (
        f'<figure><figcaption><strong>{escape(one.name)}</strong>: {about}</figcaption><svg viewBox="0 0 {WIDTH} '
        f'{HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(one.name)}: {about}">'
        f'{"".join(parts)}<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{one.channels} channels</text>'
        "</svg></figure>"
    )


def _quotients(norm: Norm, order: Sequence[int]) -> list[float | None]:
    """Real over moving variance; None for a channel that carries nothing."""
    pairs = [(norm.real_variance[channel], norm.moving_variance[channel]) for channel in order]
    return [real / moving if min(real, moving) > SILENT else None for real, moving in pairs]


def _line(y: float, colour: str, more: str = "") -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--{colour})"{more}/>'
