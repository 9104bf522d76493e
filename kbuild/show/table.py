"""Plan → a table for people: each unit's order at a glance, then every layer with shape, parameters and reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kbuild.errors import plural
from kbuild.plan.plan import Plan, PlannedLayer, PlannedUnit, Shape

#: Colours of the letters, where the terminal has any.
COLOURS = {"W": "bold", "N": "cyan", "A": "magenta", "D": "yellow", "P": "green"}

#: Width where there is no terminal.
WIDTH = 120

#: More rows than this are written one a line, unwrapped: laying out a table of 20,000 takes rich minutes.
LONG = 2_000

Cell = str | Text


def console() -> Console:
    """The console of stdout: the terminal's width, or `WIDTH` where there is none."""
    at = Console(highlight=False)
    return at if at.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=WIDTH)


def print_plan(plan: Plan) -> None:
    """Print the table to stdout, coloured on a terminal."""
    at = console()
    if at.is_terminal:
        show(plan, at)
    else:
        print(render(plan, at.width), end="")


def render(plan: Plan, width: int = WIDTH) -> str:
    """The table as plain text without colours, lines of at most `width`."""
    stream = io.StringIO()
    show(plan, Console(file=stream, width=width, no_color=True, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(plan: Plan, console: Console) -> None:
    """Print the table."""
    console.print(_headline(plan), soft_wrap=True)
    console.print()
    _print(console, ("unit", "order here", "role", "weight layer", "remarks"), _units(plan))
    said = legend(plan)
    if said:
        console.print(Text(said, style="dim"))
    _print(console, ("layer", "class", "", "output shape", "params", "why"), _layers(plan))
    for note in plan.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)


def _headline(plan: Plan) -> Text:
    text = Text(plan.name, style="bold")
    text.append(f"  {plan.order}", style="bold")
    text.append(f"  ({plan.ordering_because})")
    total, trainable = plan.total_params, plan.trainable_params
    counted = "parameters: only Keras knows" if total is None else f"{total:,} parameters, {trainable:,} trainable"
    text.append(f"\n{plural(len(plan.units), 'unit')}, {plural(len(plan.layers), 'layer')}, {counted}")
    return text


def drawn_order(unit: PlannedUnit) -> str:
    """The order with elided letters in (), letters an edge rule dropped in [], letters that moved in {}.

    >>> drawn_order(PlannedUnit("a", "W-N-A-D", "trunk", {"W": "a", "A": "a_relu"}, {"D": "dropout: 0"}, {"N": "head"}))
    'W-[N]-A-(D)'
    """
    brackets = (("elided", "()"), ("dropped", "[]"), ("moved", "{}"))
    letters = unit.order.split("-")
    extra = [letter for letter in unit.layers if letter not in letters]
    shown = []
    for letter in (*letters, *extra):
        marks = next((marks for name, marks in brackets if letter in getattr(unit, name)), "")
        shown.append(f"{marks[0]}{letter}{marks[1]}" if marks else letter)
    return "-".join(shown)


def _print(console: Console, header: tuple[str, ...], rows: list[tuple[Cell, ...]]) -> None:
    """A table without lines that wraps its last column, or one line a row where there are very many."""
    if len(rows) <= LONG:
        table = plain_table(*header, fixed=("layer", "unit", "order here", "class"))
        for column in table.columns:
            column.justify = "right" if column.header == "params" else "left"
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    texts = [header, *(tuple(str(cell).replace("\n", "; ") for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = header.index("params") if "params" in header else None
    for text in texts:
        cells = (
            cell.rjust(w) if i == right else cell.ljust(w) for i, (cell, w) in enumerate(zip(text, widths, strict=True))
        )
        console.file.write("  ".join(cells).rstrip() + "\n")


def _units(plan: Plan) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for unit in plan.units:
        weight = plan.layer(unit.name)
        what = f"{weight.cls} {_size(weight)}".strip()
        rows.append((unit.name, _letters(drawn_order(unit)), unit.role, what, "\n".join(remarks(unit))))
    return rows


def remarks(unit: PlannedUnit) -> Iterable[str]:
    """Letters that are elided, dropped or moved, with the reason; letters of the same reason in one line."""
    for reasons in (unit.elided, unit.dropped, unit.moved):
        by_reason: dict[str, list[str]] = {}
        for letter, reason in reasons.items():
            by_reason.setdefault(reason, []).append(letter)
        for reason, letters in by_reason.items():
            yield f"{' '.join(letters)}: {reason}"


def legend(plan: Plan) -> str:
    """What the brackets in the drawn orders mean, those that are there."""
    drawn = "".join(drawn_order(unit) for unit in plan.units)
    words = (("(", "(X) elided: its layer is disabled"), ("[", "[X] dropped at an edge"), ("{", "{X} stands elsewhere"))
    return "  ".join(text for mark, text in words if mark in drawn)


def _layers(plan: Plan) -> list[tuple[Cell, ...]]:
    return [
        (
            layer.name,
            layer.cls,
            _letters(layer.role or ""),
            shape_text(layer.output_shape),
            "?" if layer.params is None else f"{layer.params:,}",
            why(plan, layer),
        )
        for layer in plan.layers
    ]


def why(plan: Plan, layer: PlannedLayer) -> str:
    """Why a layer stands where it does, what it reads if not the layer above it, and what bias and folding come to."""
    parts = [layer.because]
    if len(layer.inputs) > 1 or (layer.inputs and not _above(plan, layer)):
        parts.append(f"reads {', '.join(layer.inputs)}")
    if layer.bias_because:
        parts.append(layer.bias_because)
    if layer.fold_because:
        parts.append(layer.fold_because)
    return "\n".join(part for part in parts if part)


def _above(plan: Plan, layer: PlannedLayer) -> bool:
    index = plan.position(layer.name)
    return index > 0 and plan.layers[index - 1].name == layer.inputs[0]


def _size(layer: PlannedLayer) -> str:
    return " ".join(str(layer.config[key]) for key in ("units", "filters", "kernel_size") if key in layer.config)


def shape_text(shape: Shape | None) -> str:
    """`28, 28, 32`: the shape without its batch axis, `-` where free, `?` where only Keras knows."""
    if shape is None:
        return "?"
    return ", ".join("-" if size is None else str(size) for size in shape[1:]) or "()"


def _letters(order: str) -> Text:
    text = Text()
    for letter in order:
        text.append(letter, style=COLOURS.get(letter, ""))
    return text


def plain_table(*columns: str, fixed: tuple[str, ...] = ()) -> Table:
    """A table without lines; `fixed` columns never wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in fixed)
    return table
