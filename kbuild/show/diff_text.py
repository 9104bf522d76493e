"""A difference → text that reads like the difference between two papers: what changes at how many units, and why."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.show.diff import Alone, Change, Difference, Differing
from kbuild.show.table import COLOURS, WIDTH, console, plain_table, shape_text

#: Names of a group that are shown before the rest is counted.
SHOWN_NAMES = 6

#: What a group of differences says about what it does not spell out for each member.
_SUMMED = ("parameters", "shape")

#: What a group says of the layer that a normalization folds into.
_WEIGHTS = ("its own", "another")


@dataclass(frozen=True)
class Group:
    """Differences that read the same: `texts` are the lines, `members` what they hold for."""

    texts: tuple[tuple[str, ...], ...]
    members: tuple[Differing, ...]


def print_difference(found: Difference, a: Plan, b: Plan) -> None:
    """Print a difference to stdout, coloured on a terminal."""
    at = console()
    if at.is_terminal:
        show(found, a, b, at)
    else:
        print(render(found, a, b, at.width), end="")


def render(found: Difference, a: Plan, b: Plan, width: int = WIDTH) -> str:
    """The text without colours, lines of at most `width`."""
    stream = io.StringIO()
    show(found, a, b, Console(file=stream, width=width, no_color=True, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(found: Difference, a: Plan, b: Plan, to: Console) -> None:
    """Print a difference."""
    _heads(found, to)
    to.print(Text(_verdict(found), style="bold"))
    words = _Words(a, b)
    _groups("units", _group(found.units, words), to)
    _groups("other layers", _group(found.layers, words), to)
    for side, alone in (("A", found.only_a), ("B", found.only_b)):
        _only(side, alone, to)
    if found.outputs is not None:
        to.print(f"\noutputs  {', '.join(found.outputs[0])} → {', '.join(found.outputs[1])}")


def _heads(found: Difference, to: Console) -> None:
    table = plain_table("", "", "order", "parameters", "layers", "set by", fixed=("order",))
    table.columns[3].justify = table.columns[4].justify = "right"
    for letter, side in (("A", found.a), ("B", found.b)):
        named = f" ({side.policy})" if side.policy else ""
        counts = "?" if side.total_params is None else f"{side.total_params:,}"
        table.add_row(letter, side.source, f"{side.order}{named}", counts, str(side.layers), side.because)
    to.print(table)
    total = _sum(found.a.total_params, found.b.total_params)
    if total:
        to.print(f"parameters: {total}; trainable: {_sum(found.a.trainable_params, found.b.trainable_params)}")
    to.print()


def _sum(a: int | None, b: int | None) -> str:
    """`12 → 15 (+3)`, empty where they are equal or unknown."""
    if a is None or b is None:
        return ""
    return f"{a:,}" if a == b else f"{a:,} → {b:,} ({b - a:+,})"


def _verdict(found: Difference) -> str:
    if found.same:
        written = f"; {len(found.units)} units are written differently" if found.units else ""
        return f"The same model: every layer, argument and connection{written}."
    if found.skeleton:
        return "The same weight layers and connections; what differs is what stands around them."
    return "Different models."


def _groups(title: str, groups: Sequence[Group], to: Console) -> None:
    if not groups:
        return
    to.print(f"\n{title}", style="bold")
    for group in groups:
        to.print(Padding(_headline(group), (0, 0, 0, 2), expand=False))
        if len(group.members) > 1:
            to.print(Padding(Text(_names(group), style="dim"), (0, 0, 0, 6), expand=False))
        for first, *more in group.texts:
            if not first.startswith("order "):
                to.print(Padding(_coloured(first), (0, 0, 0, 6), expand=False))
            for line in more:
                to.print(Padding(Text(line), (0, 0, 0, 8), expand=False))
        for line in _totals(group.members):
            to.print(Padding(Text(line), (0, 0, 0, 6), expand=False))


def _headline(group: Group) -> Text:
    order = next((first for first, *_ in group.texts if first.startswith("order ")), "")
    count, first = len(group.members), group.members[0]
    text = Text(f"{count} × {first.cls}" if count > 1 else f"{first.name} ({first.cls})", style="bold")
    if order:
        text.append("  ")
        text.append_text(_coloured(order.removeprefix("order ")))
    return text


def _names(group: Group) -> str:
    names = [member.name for member in group.members]
    more = f", and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _coloured(line: str) -> Text:
    """Orders in the colours of their letters."""
    text = Text(line)
    for found in re.finditer(r"(?<![\w])[\[({]?[WNADP][\])}]?(?:-[\[({]?[WNADP][\])}]?)+", line):
        for at in range(*found.span()):
            text.stylize(COLOURS.get(line[at], ""), at, at + 1)
    return text


def _totals(members: Iterable[Differing]) -> list[str]:
    """Parameters and shapes of a group: summed, and by the number of members that change."""
    members, lines = list(members), []
    if any(member.change("parameters") for member in members):
        before = [member.params_a for member in members]
        after = [member.params_b for member in members]
        if None not in before and None not in after:
            lines.append(f"parameters {_sum(sum(filter(None, before)), sum(filter(None, after)))}")
    shapes = {(change.a, change.b) for member in members if (change := member.change("shape"))}
    if len(shapes) == 1:
        a, b = shapes.pop()
        lines.append(f"shape {shape_text(a)} → {shape_text(b)}")
    elif shapes:
        lines.append(f"shape differs at {sum(1 for member in members if member.change('shape'))}")
    return lines


def _only(side: str, alone: Sequence[Alone], to: Console) -> None:
    if not alone:
        return
    to.print(f"\nonly in {side}", style="bold")
    for one in alone:
        counted = "" if not one.params else f", {one.params:,} parameters"
        what = f"{one.name}  {'unit, ' if one.unit else ''}{one.cls} ({shape_text(one.shape)}){counted}"
        to.print(Padding(Text(what), (0, 0, 0, 2), expand=False))
        to.print(Padding(Text(one.because, style="dim"), (0, 0, 0, 6), expand=False))


# -- grouping -------------------------------------------------------------------------------------------------------


def _group(items: Sequence[Differing], words: _Words) -> list[Group]:
    """Items whose differences read the same once neighbours' names are replaced by what they are, largest first."""
    by_text: dict[tuple[str, tuple[tuple[str, ...], ...]], list[Differing]] = {}
    for item in items:
        texts = tuple(words.lines(item, change) for change in item.changes if change.what not in _SUMMED)
        by_text.setdefault((item.cls, texts), []).append(item)
    groups = []
    for (_, texts), members in by_text.items():
        if len(members) == 1:
            only = members[0]
            texts = tuple(_lines(change) for change in only.changes if change.what not in _SUMMED)
        groups.append(Group(texts, tuple(members)))
    return sorted(groups, key=lambda group: -len(group.members))


class _Words:
    """Reasons with the names of a unit's neighbours replaced by their classes, so that equal reasons read equal."""

    def __init__(self, a: Plan, b: Plan):
        self.sides = [_Neighbours(plan) for plan in (a, b)]

    def lines(self, item: Differing, change: Change) -> tuple[str, ...]:
        """The change's lines; those that name other layers only say that something differs."""
        if change.what in ("reads", "name"):
            return (f"{change.what} differently" if change.what == "reads" else "named differently",)
        pairs = zip(self.sides, (change.because_a, change.because_b), strict=True)
        reasons = [side.plain(item.name, text) for side, text in pairs]
        a, b = change.a, change.b
        if change.what == "folding":
            a, b = (_own(item, value) for value in (a, b))
        return _lines(Change(change.what, a, b, *reasons))


class _Neighbours:
    def __init__(self, plan: Plan):
        self.layers = {layer.name: layer for layer in plan.layers}
        self.letters = {unit.name: tuple(unit.layers.values()) for unit in plan.units}
        self.readers: dict[str, list[str]] = {}
        for layer in plan.layers:
            for source in layer.inputs:
                self.readers.setdefault(source, []).append(layer.name)

    def plain(self, name: str, text: str) -> str:
        if not text:
            return text
        near: dict[str, None] = {}
        for own in self.letters.get(name, (name,)):
            if own in self.layers:
                near.update(dict.fromkeys([own, *self.layers[own].inputs, *self.readers.get(own, ())]))
        # A name of one letter is as likely to be a word of the reason.
        names = sorted((one for one in near if len(one) > 1), key=len, reverse=True)
        if names:
            pattern = r"(?<![\w.])(" + "|".join(map(re.escape, names)) + r")(?![\w.])"
            text = re.sub(pattern, lambda found: f"the {_class(self.layers[found[0]])}", text)
        return re.sub(r"\b(the (\w+)) \(\2\)", r"\1", text)


def _own(item: Differing, into: str | None) -> str | None:
    return into if into is None else "its own" if into == item.name else "another"


def _class(layer: PlannedLayer) -> str:
    return str(layer.config.get("activation", layer.cls)) if layer.cls == "Activation" else layer.cls


def _lines(change: Change) -> tuple[str, ...]:
    """The first line says what, the others why on each side."""
    pair = (("A", change.because_a), ("B", change.because_b))
    reasons = [f"in {side}, {text}" for side, text in pair if text and change.because_a != change.because_b]
    if change.what == "order":
        return (f"order {change.a} → {change.b}", *reasons)
    if change.what == "reads":
        return (f"reads {', '.join(change.a)} → {', '.join(change.b)}", *reasons)
    if change.what == "folding":
        return (f"its normalization {_folds(change.a)} → {_folds(change.b)}", *reasons)
    if change.what == "name":
        return (f"named {change.a} → {change.b}",)
    return (f"{change.what} {_value(change.a)} → {_value(change.b)}", *reasons)


def _folds(into: Any) -> str:
    return "does not fold" if into is None else f"folds into {into}{' weight layer' if into in _WEIGHTS else ''}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{item}" if key == "class" else f"{key} {_value(item)}" for key, item in value.items())
            or "default"
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "none" if value is None else str(value)
