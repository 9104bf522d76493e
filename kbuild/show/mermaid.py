"""Plan → a Mermaid flowchart, letters in colours."""

from __future__ import annotations

from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.show.table import shape_text

#: Fill and line colour of each letter; readable on white and, in greys, by their lightness.
COLOURS = {
    "W": ("#dbe9f6", "#2b5c8a"),
    "N": ("#d5f0ea", "#1c7a63"),
    "A": ("#f6dbee", "#8a2b6e"),
    "D": ("#fbf0cd", "#8a6d1c"),
    "P": ("#e3f0d5", "#4c7a1c"),
}


def render(plan: Plan) -> str:
    """The flowchart's text, top to bottom, one box a layer and one frame a unit."""
    ids = {layer.name: f"n{index}" for index, layer in enumerate(plan.layers)}
    lines = ["---", f"title: {_text(plan.name)} ({plan.order})", "---", "flowchart TB"]
    framed: dict[str, list[PlannedLayer]] = {}
    for layer in plan.layers:
        if layer.unit is not None:
            framed.setdefault(layer.unit, []).append(layer)
    drawn: set[str] = set()
    for layer in plan.layers:
        if layer.unit is None:
            lines.append(f"  {_box(ids, layer)}")
        elif layer.unit not in drawn:
            drawn.add(layer.unit)
            lines.append(f'  subgraph u{len(drawn)}["{_text(layer.unit)}"]')
            lines += [f"    {_box(ids, member)}" for member in framed[layer.unit]]
            lines.append("  end")
    for layer in plan.layers:
        lines += [f"  {ids[source]} --> {ids[layer.name]}" for source in layer.inputs]
    for letter, (fill, line) in COLOURS.items():
        members = [ids[layer.name] for layer in plan.layers if layer.role == letter]
        if members:
            lines.append(f"  classDef {letter} fill:{fill},stroke:{line},color:#111")
            lines.append(f"  class {','.join(members)} {letter}")
    return "\n".join(lines) + "\n"


def _box(ids: dict[str, str], layer: PlannedLayer) -> str:
    what = layer.config.get("activation", layer.cls) if layer.cls == "Activation" else layer.cls
    return f'{ids[layer.name]}["{_text(layer.name)}<br/>{_text(str(what))} ({shape_text(layer.output_shape)})"]'


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
