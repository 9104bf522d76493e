"""A diagnosis as one self-contained HTML page: the paragraph, the tables, and a plot per normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from kbuild.diagnose.table import COLUMNS, metric_rows, rows
from kbuild.diagnose.words import paragraph

if TYPE_CHECKING:
    from kbuild.diagnose.diagnosis import Diagnosis, Norm

#: Channels drawn per plot; of more, some are taken, evenly spread over the sorted ones.
DRAWN = 200
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 200, 56, 24, 10

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
<h2>Variance per channel</h2>
<p>Channels from the smallest moving variance to the largest, on a logarithmic scale:
<span class="key" style="color: var(--moving)">moving variance</span>,
<span class="key" style="color: var(--real)">real variance at inference</span>,
<span class="key" style="color: var(--after)">moving variance after recalibration</span>.</p>
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
    series = [
        ([norm[channel] for channel in order], colour, radius)
        for norm, colour, radius in (
            (one.moving_variance, "moving", 1.8),
            (one.real_variance, "real", 2.4),
            (after.moving_variance, "after", 1.4),
        )
    ]
    logs = [math.log10(max(value, 1e-12)) for values, _, _ in series for value in values]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    high = high if high > low else low + 1

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(max(value, 1e-12))) / (high - low)

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - 8) * ((place + 0.5) / len(order))

    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}" '
        f'stroke="var(--line)"/><text x="{LEFT - 6}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">1e{power}</text>'
        for power in range(low, high + 1)
    )
    dots = "".join(
        f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="{radius}" fill="var(--{colour})"/>'
        for values, colour, radius in series
        for place, value in enumerate(values)
    )
    about = f"ratio {one.ratio:.3f}, after recalibration {after.ratio:.3f}"
    return (
        f'<figure><figcaption><strong>{escape(one.name)}</strong>: {about}</figcaption><svg viewBox="0 0 {WIDTH} '
        f'{HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(one.name)}: {about}">{grid}{dots}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{one.channels} channels</text></svg></figure>'
    )
