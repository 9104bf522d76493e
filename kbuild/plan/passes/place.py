"""Put the letters of every unit around its W as layers of their own, and let its readers read its end."""

from __future__ import annotations

from typing import Any

from kbuild.catalog.layers import lookup
from kbuild.errors import Span
from kbuild.plan.graph import Graph, Node, Pass, Unit
from kbuild.plan.passes.settle import rate_of
from kbuild.spec.settings import Setting, origin

#: Suffix of a normalization's name; any other class is `_norm`.
SUFFIXES = {"BatchNormalization": "bn", "LayerNormalization": "ln", "GroupNormalization": "gn"}

#: Suffix of an activation layer of its own class; a function's is its name.
ACTIVATION_NAMES = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu", "Softmax": "softmax"}


def place(graph: Graph) -> None:
    """Insert N, A, D and P nodes; readers of a unit read its last layer from here on."""
    before: dict[Node, list[Node]] = {}
    after: dict[Node, list[Node]] = {}
    ends: dict[Node, Node] = {}
    readers = graph.readers()
    for unit in graph.units:
        node = unit.node
        node.inputs = [ends.get(source, source) for source in node.inputs]
        padded = _padded(node, readers)
        where = "before the zero padding of its W" if padded is not node else ""
        padded.inputs = [ends.get(source, source) for source in padded.inputs]
        chain = [letter_node(unit, letter, where) for letter in unit.before]
        for new in chain:
            new.inputs, padded.inputs = padded.inputs, [new]
        before[padded] = chain
        end, follow = node, []
        for letter in unit.after:
            new = letter_node(unit, letter)
            new.inputs, end = [end], new
            follow.append(new)
        after[node], ends[node], unit.end = follow, end, end
        unit.letters["W"] = node
        node.because = f"weight layer written in {origin(node.span)}"
    for node in graph.nodes:
        if node.unit is None:
            node.inputs = [ends.get(source, source) for source in node.inputs]
    graph.outputs = [ends.get(node, node) for node in graph.outputs]
    for branch in graph.branches:
        branch.entry = ends.get(branch.entry, branch.entry)
        branch.end = ends.get(branch.end, branch.end) if branch.end else None
    graph.insert(after, before)


def _padded(weight: Node, readers: dict[Node, list[Node]]) -> Node:
    """The weight layer, or the first of the zero paddings that lead to it alone.

    Such a padding is part of the convolution, as `padding: same` is: what stands before W stands before it, so that
    statistics do not count zeros and zeros stay zeros.
    """
    at = weight
    while at.inputs[0].cls.startswith("ZeroPadding") and len(readers[at.inputs[0]]) == 1:
        at = at.inputs[0]
    return at


def letter_node(unit: Unit, letter: str, where: str = "") -> Node:
    """The layer of a letter of a unit, not yet wired; `where` says where it stands if not around the unit's W."""
    layer, suffix = LETTERS[letter](unit)
    facts = lookup(layer["class_name"])
    assert facts is not None
    source = unit.node
    node = Node(facts.name, facts, dict(layer["config"]), [], letter, source.span, source.scope, source.trail)
    node.unit, node.suffix = unit, suffix
    if unit.settings.names is not None:
        node.given = unit.settings.names.value.get(letter, "")
    order = unit.settings.order
    assert order is not None
    node.because = f"{letter} in {order.value} ({order.because})" + (f"; {where}" if where else "")
    if letter not in order.value:
        node.because = _outside(unit, letter)
    setting = _decided_by(unit, letter)
    if setting is not None and setting.because != order.because:
        node.settings[letter] = f"{_shown(setting)}, {setting.because}"
        if setting.because != "default" or letter == "D":
            node.because += f"; {_what(letter)} {_shown(setting)} ({setting.because})"
    unit.letters[letter] = node
    return node


def _outside(unit: Unit, letter: str) -> str:
    if letter == "A":
        return "the head's own activation stands directly after its W"
    setting = unit.settings.pool
    return f"pooling of the unit, behind all else of it ({setting.because if setting else ''})"


def _decided_by(unit: Unit, letter: str) -> Setting | None:
    return {"N": unit.settings.norm, "A": unit.activation, "D": rate_of(unit), "P": unit.settings.pool}[letter]


def written_at(unit: Unit, letter: str) -> Span | None:
    """Where the layer of a letter is written, if the spec names it."""
    setting = _decided_by(unit, letter)
    return setting.span if setting is not None else None


def _what(letter: str) -> str:
    return {"N": "norm", "A": "activation", "D": "rate", "P": "pool"}[letter]


def _shown(setting: Setting) -> str:
    value = setting.value
    return str(value["class_name"]) if isinstance(value, dict) and "class_name" in value else str(value)


def _norm(unit: Unit) -> tuple[dict[str, Any], str]:
    assert unit.settings.norm is not None
    layer = unit.settings.norm.value
    config = dict(layer["config"])
    channels_first = unit.node.args.get("data_format") == "channels_first"
    if channels_first and layer["class_name"] != "UnitNormalization" and "axis" not in config:
        config["axis"] = 1
    return {"class_name": layer["class_name"], "config": config}, SUFFIXES.get(layer["class_name"], "norm")


def _activation(unit: Unit) -> tuple[dict[str, Any], str]:
    value = unit.activation.value
    if isinstance(value, dict):
        return value, ACTIVATION_NAMES.get(value["class_name"], "act")
    return {"class_name": "Activation", "config": {"activation": value}}, value


def _dropout(unit: Unit) -> tuple[dict[str, Any], str]:
    # The class follows from the kind once shapes are known; see the pass `dropout_kind`.
    return {"class_name": "Dropout", "config": {"rate": rate_of(unit).value}}, "drop"


def _pool(unit: Unit) -> tuple[dict[str, Any], str]:
    assert unit.settings.pool is not None
    return unit.settings.pool.value, "pool"


LETTERS = {"N": _norm, "A": _activation, "D": _dropout, "P": _pool}


PLACE = Pass("place", place, ("settle",), "every letter that stands is a layer; readers of a unit read its end")
