"""Shapes and weights by the rules of the catalog."""

from __future__ import annotations

from kbuild.catalog.layers import ShapeError
from kbuild.errors import Span
from kbuild.plan.graph import Graph, Node, Pass
from kbuild.plan.passes.place import written_at


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


INFER = Pass("infer", infer, ("bias",), "every layer with rules has shape and weights", gate=False)
