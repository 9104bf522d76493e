"""One run of layers as an SVG drawing; everything a spec names is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from kbuild.plan.plan import Plan, PlannedLayer, PlannedUnit
from kbuild.show.html.layout import Layout, arrange
from kbuild.show.html.pieces import Run
from kbuild.show.table import drawn_order, remarks, shape_text

#: Sizes in pixels: a layer's box, the distance of rows, of tracks; the trunk runs down the middle of lane 0.
BOX, HEIGHT, STEP, TRACK, MARGIN = 264, 38, 54, 16, 14
TRUNK = MARGIN + BOX // 2

#: Characters that fit into a box's first line, and into the second beside a shape.
_NAME, _WHAT = 29, 38


class Drawing:
    """Draws runs of one plan; `ids` prefixes what links lead to, None for no links."""

    def __init__(self, plan: Plan, ids: str | None):
        self.plan, self.ids = plan, ids
        position = {layer.name: at for at, layer in enumerate(plan.layers)}
        self.inputs: list[tuple[int, ...]] = [tuple(position[name] for name in layer.inputs) for layer in plan.layers]
        self.units = {unit.name: unit for unit in plan.units}
        self.moved = _moved(plan)

    def run(self, run: Run, joined: bool) -> str:
        """The drawing of a run; `joined` says whether a line leads on below it."""
        made = arrange(self.inputs, run.first, run.last)
        place = _Place(made)
        entered = any(source is None for source, _ in made.edges)
        parts = [
            f'<svg class="run" width="{place.width}" height="{place.height}" '
            f'viewBox="0 0 {place.width} {place.height}" role="group" aria-label="{self._said(run)}">'
        ]
        parts += self._frames(made, place)
        if entered:
            parts.append(f'<path class="edge" d="M{TRUNK} 0V{place.top(0) - STEP + HEIGHT + 4}"/>')
        parts += [place.edge(source, reader) for source, reader in made.edges]
        if joined:
            parts.append(f'<path class="edge" d="M{TRUNK} {place.bottom(made.row[run.last])}V{place.height}"/>')
        parts += [self._box(at, place) for at in range(run.first, run.last + 1)]
        return "".join([*parts, "</svg>"])

    def _said(self, run: Run) -> str:
        first, last = self.plan.layers[run.first].name, self.plan.layers[run.last].name
        return escape(f"layers {first} to {last}")

    def _frames(self, made: Layout, place: _Place) -> list[str]:
        """A frame around the layers of a unit that stand in a row."""
        found: list[str] = []
        by_place = {(made.lane[at], made.row[at]): at for at in made.row}
        for (lane, row), at in sorted(by_place.items()):
            unit = self.plan.layers[at].unit
            above = by_place.get((lane, row - 1))
            if unit is None or (above is not None and self.plan.layers[above].unit == unit):
                continue
            end = row
            while (lane, end + 1) in by_place and self.plan.layers[by_place[lane, end + 1]].unit == unit:
                end += 1
            if end > row:
                x, y = place.left(lane) - 6, place.top(row) - 6
                size = f'width="{BOX + 12}" height="{place.bottom(end) - y + 6}"'
                title = escape(unit_title(self.units[unit])) if unit in self.units else escape(unit)
                found.append(f'<rect class="unit" x="{x}" y="{y}" {size} rx="9"><title>{title}</title></rect>')
        return found

    def _box(self, at: int, place: _Place) -> str:
        layer = self.plan.layers[at]
        x, y = place.left(place.made.lane[at]), place.top(place.made.row[at])
        letter = layer.role if layer.role in ("W", "N", "A", "D", "P") else ""
        moved = " moved" if layer.name in self.moved else ""
        badge = f'<text class="letter" x="{x + 15}" y="{y + 25}">{letter or _sign(layer)}</text>'
        name = f'<text class="name" x="{x + 31}" y="{y + 16}">{escape(short(layer.name, _NAME))}</text>'
        shape = shape_text(layer.output_shape)
        room = max(8, _WHAT - len(shape))
        what = f'<text class="what" x="{x + 31}" y="{y + 30}">{escape(short(describe(layer), room))}</text>'
        size = f'<text class="shape" x="{x + BOX - 8}" y="{y + 30}">{escape(shape)}</text>'
        rect = f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="5"/>'
        side = f'<path class="side" d="M{x + 5} {y}h22v{HEIGHT}h-22a5 5 0 0 1 -5 -5v-{HEIGHT - 10}a5 5 0 0 1 5 -5z"/>'
        drawn = f"<title>{escape(title(layer))}</title>{rect}{side}{badge}{name}{what}{size}"
        css = f"layer {letter or 'plain'}{moved}"
        if self.ids is None:
            return f'<g class="{css}">{drawn}</g>'
        return f'<a id="{self.ids}n{at}" href="#{self.ids}l{at}" class="{css}">{drawn}</a>'


def _moved(plan: Plan) -> set[str]:
    """Letters that no connection inside their unit joins with its weight layer."""
    unit = {layer.name: layer.unit for layer in plan.layers if layer.unit is not None}
    joined: dict[str, set[str]] = {}
    for layer in plan.layers:
        for source in layer.inputs:
            if layer.name in unit and unit.get(source) == layer.unit:
                joined.setdefault(layer.name, set()).add(source)
                joined.setdefault(source, set()).add(layer.name)
    found = set(unit)
    for weight in {name for name in unit.values() if name is not None}:
        pending = [weight]
        while pending:
            at = pending.pop()
            if at in found:
                found.remove(at)
                pending.extend(joined.get(at, ()))
    return found


class _Place:
    """Coordinates of a layout."""

    def __init__(self, made: Layout):
        self.made = made
        self.lefts = [MARGIN]
        for lane in range(made.lanes):
            self.lefts.append(self.lefts[-1] + BOX + 14 + TRACK * made.tracks.get(lane, 0) + (10 if lane else 4))
        self.width = self.lefts[-1] + 2
        # Room above the first row for lines that leave to other lanes.
        self.head = STEP - HEIGHT + (6 if self._splits() else 0)
        self.height = self.head + made.rows * STEP

    def _splits(self) -> bool:
        return sum(source is None for source, _ in self.made.edges) > 1

    def left(self, lane: int) -> int:
        return self.lefts[lane]

    def middle(self, lane: int) -> int:
        return self.lefts[lane] + BOX // 2

    def top(self, row: int) -> int:
        return self.head + row * STEP

    def bottom(self, row: int) -> int:
        return self.top(row) + HEIGHT

    def edge(self, source: int | None, reader: int) -> str:
        made = self.made
        lane, row = (0, -1) if source is None else (made.lane[source], made.row[source])
        target_lane, target = made.lane[reader], made.row[reader]
        x, y = self.middle(lane), (0 if source is None else self.bottom(row))
        to_x, to_y = self.middle(target_lane), self.top(target)
        turn = self.head - 9 if source is None else y + 8
        if (source, reader) in made.track:
            beside, number = made.track[source, reader]
            across = self.lefts[beside] + BOX + 12 + TRACK * number
            side = self.left(target_lane) + (BOX if across > self.left(target_lane) else 0)
            way = f"M{x} {turn - 8}V{turn}{_corner(x, across, turn, 1)}V{to_y + HEIGHT // 2 - 6}"
            way += f"{_into(across, side, to_y + HEIGHT // 2)}"
            return f'<path class="edge arc" d="{way}"/>'
        if lane == target_lane:
            return f'<path class="edge" d="M{x} {y}V{to_y}"/>'
        if target_lane > lane:
            return f'<path class="edge" d="M{x} {turn - 8}V{turn}{_corner(x, to_x, turn, 1)}V{to_y}"/>'
        side, level = self.left(target_lane) + BOX, to_y + HEIGHT // 2
        return f'<path class="edge" d="M{x} {y}V{level - 6}{_into(x, side, level)}"/>'


def _corner(x: int, to: int, y: int, down: int) -> str:
    """From (x, y) across to `to`, and down."""
    step = 6 if to > x else -6
    return f"H{to - step}Q{to} {y} {to} {y + 6 * down}"


def _into(x: int, side: int, y: int) -> str:
    """From above (x, y) across into the side of a box."""
    step = 6 if side > x else -6
    return f"Q{x} {y} {x + step} {y}H{side}"


def short(text: str, room: int) -> str:
    """A text with its middle left out where it is too long; its ends say most.

    >>> short("conv4_bottleneck1_conv1_relu", 16)
    'conv4_b…nv1_relu'
    """
    if len(text) <= room:
        return text
    end = room // 2
    return f"{text[: room - end - 1]}…{text[-end:]}"


def describe(layer: PlannedLayer) -> str:
    """The class with its sizes, as briefly as one says it: `Conv2D 64, 3×3, stride 2`."""
    config = layer.config
    if layer.cls == "Activation":
        return str(config.get("activation", layer.cls))
    said = [str(config[key]) for key in ("units", "filters", "rate", "num_heads") if key in config]
    for key in ("kernel_size", "pool_size"):
        if key in config:
            said.append(_size(config[key], layer))
    if "strides" in config:
        said.append(f"stride {_size(config['strides'], layer, same='')}")
    if isinstance(config.get("activation"), str):
        said.append(config["activation"])
    return f"{layer.cls} {', '.join(said)}".strip()


def _size(value: Any, layer: PlannedLayer, same: str = "×") -> str:
    if isinstance(value, (list, tuple)):
        return "×".join(map(str, value)) if same or len(set(map(str, value))) > 1 else str(value[0])
    rank = next((int(digit) for digit in "123" if f"{digit}D" in layer.cls), 1)
    return "×".join([str(value)] * rank) if same else str(value)


def _sign(layer: PlannedLayer) -> str:
    return {"Add": "+", "Multiply": "×", "Concatenate": "‖", "InputLayer": "▸"}.get(layer.cls.removeprefix("ops."), "")


def title(layer: PlannedLayer) -> str:
    """What hovering says: what it is, why it stands there, bias, folding, settings."""
    counted = "" if not layer.params else f", {layer.params:,} parameters"
    said = [f"{layer.name}: {describe(layer)} ({shape_text(layer.output_shape)}){counted}", layer.because]
    said += [layer.bias_because, layer.fold_because]
    said += [f"{letter}: {value}" for letter, value in layer.settings.items()]
    if layer.inputs:
        said.append(f"reads {', '.join(layer.inputs)}")
    return "\n".join(one for one in said if one)


def unit_title(unit: PlannedUnit) -> str:
    """What hovering over a unit's frame says."""
    return "\n".join([f"unit {unit.name}: {drawn_order(unit)} ({unit.role})", *remarks(unit)])


def letters(layers: Sequence[PlannedLayer]) -> str:
    """The letters of layers in a row, for a folded block: `W N A W N A +`."""
    return "".join(
        f'<b class="{layer.role}">{layer.role}</b>'
        if layer.role in ("W", "N", "A", "D", "P")
        else f"<i>{_sign(layer) or '·'}</i>"
        for layer in layers
    )
