"""Which weight layers have a bias: none where a BatchNormalization directly behind W cancels it."""

from __future__ import annotations

from kbuild.plan.graph import Graph, Node, Pass


def decide_biases(graph: Graph) -> None:
    """Set `use_bias` of every weight layer that has the argument; a value the user wrote wins."""
    readers = graph.readers()
    outputs = set(graph.outputs)
    for unit in graph.units:
        node = unit.node
        if "use_bias" not in node.facts.signature.arguments:
            node.bias_because = "bias_axes decides"
            continue
        cancelled = cancelling_norm(node, readers[node], node in outputs)
        if "use_bias" in node.args:
            written = f"use_bias: {str(node.args['use_bias']).lower()} is written"
            node.bias_because = written + (f"; {cancelled.name} cancels a bias" if cancelled else "")
        elif cancelled is not None:
            node.args["use_bias"] = False
            node.bias_because = f"no bias: {cancelled.name} behind it has beta"
        else:
            node.args["use_bias"] = True
            node.bias_because = f"bias: {_why_kept(node, readers[node], node in outputs)}"


def cancelling_norm(node: Node, readers: list[Node], is_output: bool) -> Node | None:
    """The BatchNormalization that makes a bias of `node` useless: its only reader, over its channel axis, with beta."""
    if is_output or len(readers) != 1 or readers[0].cls != "BatchNormalization" or own_activation(node):
        return None
    norm = readers[0]
    return norm if norm.args.get("center", True) and _over_channels(node, norm) else None


def own_activation(node: Node) -> str:
    """The activation that a weight layer applies itself (`fused: true`), or an empty string for linear."""
    value = node.args.get("activation") if node.role == "W" else None
    return "" if value in (None, "linear") else str(value)


def _over_channels(node: Node, norm: Node) -> bool:
    axis = norm.args.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if node.args.get("data_format") == "channels_first":
        return bool(axis == 1)
    last = node.facts.rank + 1 if node.facts.rank else None
    return axis == -1 or (last is not None and axis == last) or (last is None and axis == _rank(node) - 1)


def _rank(node: Node) -> int:
    return len(node.shape) if node.shape is not None else 0


def _why_kept(node: Node, readers: list[Node], is_output: bool) -> str:
    if is_output or not readers:
        return "it is an output"
    if len(readers) > 1:
        return f"{len(readers)} layers read it"
    reader = readers[0]
    if own_activation(node):
        return f"its own {own_activation(node)} stands before {reader.name}"
    if reader.cls == "BatchNormalization":
        return (
            f"{reader.name} has no beta" if not reader.args.get("center", True) else f"{reader.name} has another axis"
        )
    if reader.role == "N":
        return f"{reader.name} ({reader.cls}) does not cancel it"
    return f"{reader.name} follows"


BIAS = Pass("bias", decide_biases, ("place", "close", "name"), "every weight layer has its use_bias")
