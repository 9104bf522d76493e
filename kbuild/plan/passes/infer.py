"""Shapes and weights by the rules of the catalog; projections where a residual's shapes differ."""

from __future__ import annotations

from typing import Any

from kbuild.catalog.layers import ShapeError, lookup
from kbuild.errors import Span
from kbuild.plan.graph import Branch, Graph, Node, Pass, Unit
from kbuild.plan.passes.place import written_at
from kbuild.plan.plan import Shape
from kbuild.spec.settings import Setting


def infer(graph: Graph) -> None:
    """Set shape and weights of every node. What has no rule, or reads what has none, stays None."""
    for node in graph.nodes:
        infer_node(graph, node)


def infer_node(graph: Graph, node: Node) -> None:
    """Set shape and weights of one node from its inputs'; a problem where the layer does not fit them."""
    node.shape = node.weights = node.trainable = None
    if node.role == "input":
        node.shape, node.weights, node.trainable = (None, *node.args["shape"]), 0, 0
        return
    shapes = tuple(source.shape for source in node.inputs)
    if None in shapes or not shapes:
        return
    try:
        if node.facts.shape is not None:
            node.shape = node.facts.shape(node.args, shapes)  # type: ignore[arg-type]
        if node.facts.weights is not None:
            counted = node.facts.weights(node.args, shapes)  # type: ignore[arg-type]
            if counted is not None:
                node.weights, node.trainable = counted.total, counted.trainable
    except ShapeError as error:
        span = _span(node, str(error))
        graph.problem("shape", error.message, node, error.hint or _residual_hint(graph, node), span)
        node.shape = None


def _span(node: Node, message: str) -> Span:
    """The argument that the message speaks of, or the layer."""
    for name, span in node.arg_spans.items():
        if f"{name} " in message or f"'{name}'" in message or f"{name}=" in message:
            return span
    if node.unit is not None and node.suffix:
        return written_at(node.unit, node.role) or node.span
    return node.span


def _residual_hint(graph: Graph, merge: Node) -> str:
    branch = next((branch for branch in graph.branches if branch.merge is merge), None)
    if branch is None:
        return ""
    if branch.auto:
        return "no projection fits: keep the sizes in the branch (padding: same), or write the shortcut's layers"
    return "`shortcut: auto` projects where shapes differ"


def project(graph: Graph) -> None:
    """Infer shapes, and put a projection into each `auto` shortcut whose shape differs from its branch's."""
    by_merge = {branch.merge: branch for branch in graph.branches if branch.auto and branch.merge is not None}
    nodes: list[Node] = []
    for node in graph.nodes:
        branch = by_merge.get(node)
        if branch is not None:
            unit = _projection(graph, branch, node)
            if unit is not None:
                branch.projection = unit
                graph.units.append(unit)
                nodes.append(unit.node)
                infer_node(graph, unit.node)
        infer_node(graph, node)
        nodes.append(node)
    graph.nodes = nodes
    order = {id(node): index for index, node in enumerate(nodes)}
    graph.units.sort(key=lambda unit: order.get(id(unit.node), len(order)))


def _projection(graph: Graph, branch: Branch, merge: Node) -> Unit | None:
    assert branch.end is not None
    entry, end = branch.entry.shape, branch.end.shape
    if entry is None or end is None:
        unknown = branch.entry if entry is None else branch.end
        if not graph.problems and unknown.facts.shape is None:
            hint = "write shortcut: identity, or the shortcut's layers"
            message = f"an auto shortcut needs shapes, and only Keras knows that of {unknown.cls}"
            graph.problem("shape", message, merge, hint)
        return None
    if merge.cls == "Concatenate" or len(entry) != len(end):
        return None
    strides = [_stride(a, b) for a, b in zip(entry[1:-1], end[1:-1])]
    if any(stride is None for stride in strides):
        strides = _strides_of(branch)
    if entry[-1] == end[-1] and all(stride == 1 for stride in strides):
        return None
    if end[-1] is None or any(stride is None for stride in strides):
        hint = "write the shortcut's layers"
        message = f"no 1x1 projection leads from {entry} to {end}"
        graph.problem("shape", message, merge, hint)
        return None
    rank = len(entry) - 2
    cls = "Dense" if rank == 0 else f"Conv{rank}D"
    facts = lookup(cls)
    if facts is None:
        return None
    args: dict[str, Any] = {"units": end[-1]} if rank == 0 else {"filters": end[-1], "kernel_size": 1}
    if rank and any(stride != 1 for stride in strides):
        args["strides"] = strides[0] if len(set(strides)) == 1 else strides
    node = Node(cls, facts, args, [branch.entry], "W", merge.span, merge.scope, merge.trail)
    node.local = f"{merge.local}_shortcut" if merge.local else ""
    node.stem = "shortcut"
    node.because = f"auto shortcut: shapes differ, {entry} to {end}"
    path = Branch(branch.parent, branch.entry, shortcut=True)
    unit = Unit(node, branch=path, activation=Setting(None, "linear"))
    node.unit = unit
    path.units.append(unit)
    merge.inputs = [node if source is branch.entry else source for source in merge.inputs]
    return unit


def _stride(before: int | None, after: int | None) -> int | None:
    """The stride with which a 1x1 convolution maps `before` positions to `after`, or None."""
    if before is None or after is None or after > before:
        return None
    stride = -(-before // after)
    return stride if -(-before // stride) == after else None


def _strides_of(branch: Branch) -> list[int | None]:
    """Where sizes are free: the product of the strides along the branch, axis by axis."""
    assert branch.end is not None and branch.end.shape is not None
    rank = len(branch.end.shape) - 2
    total: list[int | None] = [1] * rank
    node = branch.end
    while node is not branch.entry and node.inputs:
        strides = node.args.get("strides", node.args.get("pool_size", 1) if node.role == "P" else 1)
        each = strides if isinstance(strides, list) else [strides] * rank
        total = [a * b if isinstance(a, int) and isinstance(b, int) else None for a, b in zip(total, each)]
        node = node.inputs[0]
    return total


def shapes_text(shape: Shape | None) -> str:
    """`(None, 28, 28, 1)`, or `?` where only Keras knows."""
    return "?" if shape is None else str(shape)


PROJECT = Pass("project", project, (), "shapes before placement are known; auto shortcuts project", gate=False)
INFER = Pass("infer", infer, ("bias",), "every layer with rules has shape and weights", gate=False)
