"""Plan → one HTML page with a drawing of the graph, or the drawing alone for a notebook.

Nothing is fetched: style, script and drawing are in the page, and it reads without the script too. Whatever a spec
names is escaped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from html import escape

from kbuild.plan.plan import Plan
from kbuild.policy import LETTERS
from kbuild.show.html.pieces import Fold, Piece, Run, pieces
from kbuild.show.html.style import CSS, DRAWING, SCRIPT
from kbuild.show.html.svg import Drawing, describe, letters
from kbuild.show.table import drawn_order, legend, remarks, shape_text, why


def page(plan: Plan) -> str:
    """A whole page: the drawing, the units, and every layer with its reason."""
    ids = _ids(plan)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(plan.name)}: {escape(plan.order)}</title>",
        f"<style>body {{ margin: 0 }}{CSS}</style></head>",
        f'<body class="kbuild"><main><h1>{escape(plan.name)}</h1>',
        _head(plan),
        *(f"<p>note: {escape(note)}</p>" for note in plan.notes),
        _legend(plan, "hover over a layer for its reason, or click to find it in the table"),
        '<button data-open="yes" hidden>Unfold all</button><button data-open="no" hidden>Fold all</button>',
        _drawing(plan, ids),
        _units(plan),
        _layers(plan, ids),
        f"</main><script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def fragment(plan: Plan) -> str:
    """The drawing for a notebook: no script, no links."""
    said = _legend(plan, "hover over a layer for its reason")
    return f'<div class="kbuild"><style>{CSS}</style>{_head(plan)}{said}{_drawing(plan, None)}</div>'


def picture(plan: Plan) -> str:
    """The drawing as an SVG file, which an image in a page shows in the reader's light or dark colours."""
    drawn = re.sub(
        "<title>.*?</title>", "", Drawing(plan, None).run(Run(0, len(plan.layers) - 1), joined=False), flags=re.S
    )
    size = " ".join(re.findall(r'(?:width|height)="\d+"', drawn)[:2])
    ground = '<rect width="100%" height="100%" rx="8" style="fill: var(--ground); stroke: none"/>'
    style = f"<style>{DRAWING}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="kbuild" {size}>{style}{ground}{drawn}</svg>\n'


def _ids(plan: Plan) -> str:
    return f"k{hashlib.sha256(plan.name.encode()).hexdigest()[:6]}-"


def _head(plan: Plan) -> str:
    total, trainable = plan.total_params, plan.trainable_params
    counted = "only Keras knows the parameters" if total is None else f"{total:,} parameters, {trainable:,} trainable"
    named = f" {escape(plan.policy)}," if plan.policy else ""
    return (
        f'<p><span class="order">{_order(plan.order)}</span>{named} ({escape(plan.ordering_because)}) · '
        f"{len(plan.units)} units, {len(plan.layers)} layers, {counted}</p>"
    )


def _order(order: str) -> str:
    """An order with its letters in their colours."""
    return "".join(f'<b class="{one}">{one}</b>' if one in LETTERS else escape(one) for one in order)


def _legend(plan: Plan, hint: str) -> str:
    there = {layer.role for layer in plan.layers}
    said = [f'<span><b class="{one}">{one}</b>{word}</span>' for one, word in LETTERS.items() if one in there]
    if Drawing(plan, None).moved:
        said.append("<span>dashed: stands elsewhere than beside its weight layer</span>")
    return f'<p class="legend">{"".join(said)}<span>{hint}</span></p>'


def _drawing(plan: Plan, ids: str | None) -> str:
    drawing = Drawing(plan, ids)
    found = pieces(plan)
    return f'<div class="drawing">{"".join(_pieces(drawing, found, ends=True))}</div>'


def _pieces(drawing: Drawing, found: Iterable[Piece], ends: bool) -> Iterable[str]:
    """Pieces below each other; `ends` says whether nothing follows the last."""
    found = list(found)
    for piece in found:
        joined = not (ends and piece is found[-1])
        if isinstance(piece, Run):
            yield drawing.run(piece, joined)
        else:
            yield _fold(drawing, piece, joined)


def _fold(drawing: Drawing, fold: Fold, joined: bool) -> str:
    layers = drawing.plan.layers[fold.first : fold.last + 1]
    counts = [layer.params for layer in layers]
    counted = "" if None in counts else f", {sum(filter(None, counts)):,} params"
    kind = f" <em>{escape(fold.kind)}</em>" if fold.kind and fold.kind != fold.name else ""
    shown = letters(layers[:24]) + ("…" if len(layers) > 24 else "")
    said = (
        f"{escape(fold.name)}{kind}<small>{len(layers)} layers{counted} · "
        f'{escape(shape_text(layers[-1].output_shape))}</small><span class="letters">{shown}</span>'
    )
    inner = "".join(_pieces(drawing, fold.pieces, ends=not joined))
    opened = " open" if fold.open else ""
    return f"<details{opened}><summary><span>{said}</span></summary>{inner}</details>" + (
        '<div class="after"></div>' if joined else ""
    )


def _units(plan: Plan) -> str:
    rows = [
        f'<tr><td>{escape(unit.name)}</td><td class="code">{_order(drawn_order(unit))}</td><td>{escape(unit.role)}</td>'
        f'<td>{escape(describe(plan.layer(unit.name)))}</td><td class="why">{_lines(remarks(unit))}</td></tr>'
        for unit in plan.units
    ]
    return _table("Units", ("unit", "order here", "role", "weight layer", "remarks"), rows, legend(plan))


def _layers(plan: Plan, ids: str) -> str:
    rows = []
    for at, layer in enumerate(plan.layers):
        letter = f'<b class="{layer.role}">{layer.role}</b>' if layer.role in LETTERS else ""
        name = f'<a href="#{ids}n{at}">{escape(layer.name)}</a>'
        params = "?" if layer.params is None else f"{layer.params:,}"
        rows.append(
            f'<tr id="{ids}l{at}"><td>{name}</td><td>{letter}</td><td>{escape(describe(layer))}</td>'
            f'<td class="shape">{escape(shape_text(layer.output_shape))}</td><td class="number">{params}</td>'
            f'<td class="why">{_lines(why(plan, layer).splitlines())}</td></tr>'
        )
    return _table("Layers", ("layer", "", "class", "output shape", "params", "why"), rows)


def _table(title: str, header: tuple[str, ...], rows: list[str], said: str = "") -> str:
    heads = "".join(f"<th>{word}</th>" for word in header)
    body = "\n".join(rows)
    said = f"<p>{escape(said)}</p>" if said else ""
    return f"<h2>{title}</h2>{said}<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _lines(said: Iterable[str]) -> str:
    return "<br>".join(map(escape, said))
