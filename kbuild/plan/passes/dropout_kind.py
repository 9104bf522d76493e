"""Which dropout class each D is: it follows from the kind and from the shape it acts on."""

from __future__ import annotations

from kbuild.catalog.layers import lookup
from kbuild.plan.graph import Graph, Node, Pass, Unit


def choose(graph: Graph) -> None:
    """Give every placed D its class: Dropout, SpatialDropout1D/2D/3D, AlphaDropout or GaussianDropout."""
    for node in graph.nodes:
        if node.role != "D" or node.unit is None:
            continue
        kind = node.unit.settings.kind
        assert kind is not None
        cls = _class(graph, node, node.unit, kind.value)
        facts = lookup(cls)
        assert facts is not None
        node.cls, node.facts = cls, facts
        if cls.startswith("Spatial") and node.unit.node.args.get("data_format") == "channels_first":
            if "data_format" in facts.signature.arguments:
                node.args["data_format"] = "channels_first"
        if kind.because != "default":
            node.because += f"; kind {kind.value} ({kind.because})"


def _class(graph: Graph, node: Node, unit: Unit, kind: str) -> str:
    if kind == "alpha" or (kind == "auto" and unit.activation.value == "selu"):
        return "AlphaDropout"
    if kind == "gaussian":
        return "GaussianDropout"
    rank = _positions(node, unit)
    if kind == "spatial" and rank not in (1, 2, 3):
        span = unit.settings.kind.span if unit.settings.kind else None
        shape = node.inputs[0].shape
        message = f"spatial dropout drops whole feature maps; the unit {unit.node.name} has none, its shape is {shape}"
        graph.problem("shape", message, node, "kind: auto takes element-wise dropout on vectors", span)
        return "Dropout"
    if kind in ("spatial", "auto") and rank in (1, 2, 3):
        return f"SpatialDropout{rank}D"
    return "Dropout"


def _positions(node: Node, unit: Unit) -> int:
    """The number of axes between batch and channels of what the D acts on."""
    shape = node.inputs[0].shape
    return len(shape) - 2 if shape is not None else unit.node.facts.rank


KIND = Pass("dropout_kind", choose, ("infer",), "every D has the class of its kind")
