"""Under mixed precision both ends of a model compute in float32.

The heads, and what follows them: a loss of float16 logits loses digits. Keras' guide to mixed precision asks for it
(https://keras.io/api/mixed_precision, "model outputs should be float32"). And what scales or bins raw numbers, with
what it reads: the year 2011 is 2008 in bfloat16, and 99,999 is infinite in float16.
"""

from __future__ import annotations

from kbuild.catalog.operations import OPERATIONS
from kbuild.plan.graph import Graph, Node, Pass

#: Layers that make small numbers of raw ones.
_SCALING = ("Normalization", "Discretization")


def keep_ends(graph: Graph) -> None:
    """Set the dtype of heads with all behind them, and of scaling layers with all before them up to a weight layer.

    A dtype the user wrote wins.
    """
    if not graph.precision.startswith("mixed"):
        return
    behind: dict[Node, bool] = {}
    for node in graph.nodes:
        is_head = node.role == "W" and node.unit is not None and node.unit.role == "head"
        behind[node] = is_head or any(behind[source] for source in node.inputs)
        if behind[node]:
            _keep(node, graph, "in a head")
    before: dict[Node, bool] = {}
    for node in reversed(graph.nodes):
        before[node] = before.get(node, False) or node.cls in _SCALING
        if before[node] and node.role != "W":
            _keep(node, graph, "where numbers are raw")
            before |= dict.fromkeys(node.inputs, True)


def _keep(node: Node, graph: Graph, why: str) -> None:
    if "dtype" not in node.args and node.cls not in OPERATIONS and node.cls != "InputLayer":
        node.args["dtype"] = "float32"
        node.because += f"; float32 {why} (precision: {graph.precision})"


PRECISION = Pass(
    "precision", keep_ends, ("place", "close", "fuse"), "heads and scaling of raw numbers compute in float32"
)
