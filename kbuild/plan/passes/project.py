"""Projections: a 1x1 convolution (a Dense for vectors) where the shapes of branch and `auto` shortcut differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kbuild.catalog.layers import ShapeError, lookup
from kbuild.plan.graph import LINEAR, Branch, Graph, Node, Pass, Unit
from kbuild.plan.passes.infer import infer_node
from kbuild.plan.plan import Shape

#: Arguments that a projection takes from its branch where all weight layers of the branch agree on them.
_INHERITED = (
    "use_bias",
    "kernel_initializer",
    "kernel_regularizer",
    "kernel_constraint",
    "bias_initializer",
    "bias_regularizer",
    "bias_constraint",
    "dtype",
    "trainable",
)

#: Sizes that stand for a free axis when strides are tried out.
_TRIED = (192, 256)


def project(graph: Graph) -> None:
    """Infer shapes, and put a projection into each `auto` shortcut whose shape differs from its branch's."""
    by_merge = {branch.merge: branch for branch in graph.branches if branch.auto and branch.merge is not None}
    nodes: list[Node] = []
    position: dict[Node, int] = {}
    for node in graph.nodes:
        branch = by_merge.get(node)
        if branch is not None:
            unit = _projection(graph, branch, node, _inside(branch, position))
            if unit is not None:
                branch.projection = unit
                graph.units.append(unit)
                position[unit.node] = len(position)
                nodes.append(unit.node)
                infer_node(graph, unit.node)
        infer_node(graph, node)
        position[node] = len(position)
        nodes.append(node)
    graph.nodes = nodes
    graph.units.sort(key=lambda unit: position.get(unit.node, len(position)))


def _inside(branch: Branch, position: dict[Node, int]) -> list[Node]:
    """The nodes between the entry and the end of a branch, in their order."""
    first, found, pending = position[branch.entry], set(), [branch.end]
    while pending:
        node = pending.pop()
        if node is not None and node not in found and position[node] > first:
            found.add(node)
            pending.extend(node.inputs)
    return sorted(found, key=position.__getitem__)


def _projection(graph: Graph, branch: Branch, merge: Node, inside: list[Node]) -> Unit | None:
    assert branch.end is not None
    entry, end = branch.entry.shape, branch.end.shape
    if entry is None or end is None:
        unknown = branch.entry if entry is None else branch.end
        if not graph.problems and unknown.facts.shape is None:
            hint = "write shortcut: identity, or the shortcut's layers"
            message = f"an auto shortcut needs shapes, and only Keras knows that of {unknown.cls}"
            graph.problem("shape", message, merge, hint)
        return None
    if merge.cls == "Concatenate" or len(entry) != len(end) or not 2 <= len(entry) <= 5:
        return None
    if merge.cls == "Multiply" and all(b in (a, 1) for a, b in zip(entry, end, strict=True)):
        # A gate is spread over the positions of what it scales.
        return None
    channels_first = any(node.args.get("data_format") == "channels_first" for node in inside if node.role == "W")
    channels = 1 if channels_first else len(end) - 1
    positions = [axis for axis in range(1, len(end)) if axis != channels]
    strides = _strides(branch, inside, positions)
    if entry[channels] == end[channels] and _same(entry, end, positions, strides):
        return None
    if end[channels] is None or None in strides:
        hint = "keep the sizes in the branch (padding: same), or write the shortcut's layers"
        message = f"no 1x1 projection leads from {entry} to {end}"
        graph.problem("shape", message, merge, hint)
        return None
    args: dict[str, Any] = {"filters": end[channels], "kernel_size": 1} if positions else {"units": end[channels]}
    if any(stride != 1 for stride in strides):
        args["strides"] = strides[0] if len(set(strides)) == 1 else strides
    if channels_first:
        args["data_format"] = "channels_first"
    return _unit(f"Conv{len(positions)}D" if positions else "Dense", args, branch, merge)


def _unit(cls: str, args: dict[str, Any], branch: Branch, merge: Node) -> Unit:
    """The projection, wired into the merge."""
    assert branch.end is not None
    facts = lookup(cls)
    assert facts is not None
    node = Node(cls, facts, {**args, **_inherited(branch)}, [branch.entry], "W", merge.span, merge.scope, merge.trail)
    node.local = f"{merge.local}_shortcut" if merge.local else ""
    node.stem = "shortcut"
    node.because = f"auto shortcut: shapes differ, {branch.entry.shape} to {branch.end.shape}"
    path = Branch(branch.parent, branch.entry, shortcut=True)
    unit = Unit(node, branch=path, activation=LINEAR)
    # What a structure around the branch sets holds for its shortcut too.
    unit.own = branch.settings
    node.unit = unit
    path.units.append(unit)
    merge.inputs = [node if source is branch.entry else source for source in merge.inputs]
    return unit


def _inherited(branch: Branch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _INHERITED:
        having = [unit.node.args for unit in branch.units if name in unit.node.facts.signature.arguments]
        if having and all(name in args and args[name] == having[0].get(name) for args in having):
            found[name] = having[0][name]
    return found


def _same(entry: Shape, end: Shape, positions: Sequence[int], strides: Sequence[int | None]) -> bool:
    """Whether the sizes of all positions are equal; a free size is, if nothing along the branch changes it."""
    pairs = [(entry[axis], end[axis], stride) for axis, stride in zip(positions, strides, strict=True)]
    return all(a == b and (a is not None or stride == 1) for a, b, stride in pairs)


def _strides(branch: Branch, inside: list[Node], positions: Sequence[int]) -> list[int | None]:
    """The stride of each position with which a 1x1 convolution has the sizes of the branch; None where none has.

    The strides of the branch multiplied, if they fit; else the one that maps the two sizes, if they are known. Where
    one is free, the branch is tried out with two sizes.
    """
    assert branch.entry.shape is not None and branch.end is not None and branch.end.shape is not None
    entry, end = branch.entry.shape, branch.end.shape
    tried: list[tuple[Shape, Shape | None]] = [(entry, end)]
    if None in (entry[axis] for axis in positions):
        tried = [_try(branch, inside, size) for size in _TRIED]
    found: list[int | None] = []
    for index, axis in enumerate(positions):
        pairs = [(before[axis], after[axis] if after else None) for before, after in tried]
        choices = (_nominal(branch, index, len(positions)), _stride(entry[axis], end[axis]))
        fitting = (stride for stride in choices if stride and all(_fits(*pair, stride) for pair in pairs))
        found.append(next(fitting, None))
    return found


def _try(branch: Branch, inside: list[Node], size: int) -> tuple[Shape, Shape | None]:
    """The shapes of entry and end with `size` for every free axis but the batch; None where a rule is missing."""
    entry = branch.entry.shape
    assert entry is not None and branch.end is not None
    start = (entry[0], *(size if each is None else each for each in entry[1:]))
    shapes: dict[Node, Shape | None] = {branch.entry: start}
    for node in inside:
        read = tuple(shapes.get(source, source.shape) for source in node.inputs)
        try:
            known = node.facts.shape is not None and None not in read
            shapes[node] = node.facts.shape(node.args, read) if known else None  # type: ignore[misc,arg-type]
        except ShapeError:
            shapes[node] = None
    return start, shapes.get(branch.end)


def _nominal(branch: Branch, index: int, rank: int) -> int | None:
    """The product of the strides along the branch at one position."""
    total, node = 1, branch.end
    while node is not None and node is not branch.entry and node.inputs:
        strides = node.args.get("strides")
        if strides is None and node.role == "P":
            strides = node.args.get("pool_size", 2)
        each = strides[index] if isinstance(strides, list) and len(strides) == rank else strides or 1
        if not isinstance(each, int) or "Transpose" in node.cls:
            return None
        total, node = total * each, node.inputs[0]
    return total


def _stride(before: int | None, after: int | None) -> int | None:
    """The smallest stride with which a 1x1 convolution maps `before` positions to `after`, or None."""
    if before is None or after is None or not 0 < after <= before:
        return None
    return -(-before // after)


def _fits(before: int | None, after: int | None, stride: int) -> bool:
    return before is not None and after is not None and -(-before // stride) == after


PROJECT = Pass("project", project, (), "shapes before placement are known; auto shortcuts project", gate=False)
