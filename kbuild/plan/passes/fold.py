"""Which normalizations fold into which weight layers at export; `kbuild.plan.folding` decides."""

from __future__ import annotations

from kbuild.plan.folding import decide
from kbuild.plan.graph import Graph, Node, Pass
from kbuild.plan.plan import PlannedLayer


def decide_folding(graph: Graph) -> None:
    """Set `folds_into` and `fold_because` of every normalization."""
    nodes = {node.name: node for node in graph.nodes}
    if len(nodes) < len(graph.nodes):  # two layers of one name: a problem that is reported elsewhere
        return
    found = decide([_planned(node) for node in graph.nodes], [node.name for node in graph.outputs])
    for name, folding in found.items():
        nodes[name].folds_into = nodes[folding.weight] if folding.weight is not None else None
        nodes[name].fold_because = folding.because


def _planned(node: Node) -> PlannedLayer:
    role = node.role if node.role in ("W", "N", "A", "D", "P") else None
    inputs = tuple(source.name for source in node.inputs)
    return PlannedLayer(node.name, node.cls, role, inputs=inputs, config=node.args, output_shape=node.shape)


FOLD = Pass("fold", decide_folding, ("infer", "dropout_kind"), "every normalization says whether it folds")
