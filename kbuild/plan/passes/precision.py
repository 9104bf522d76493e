"""Under mixed precision the heads, and what follows them, compute in float32: a loss of float16 logits loses digits.

Keras' guide to mixed precision asks for it (https://keras.io/api/mixed_precision, "model outputs should be float32").
"""

from __future__ import annotations

from kbuild.catalog.operations import OPERATIONS
from kbuild.plan.graph import Graph, Node, Pass


def keep_heads(graph: Graph) -> None:
    """Set the dtype of every head and of all layers behind it; a dtype the user wrote wins."""
    if not graph.precision.startswith("mixed"):
        return
    behind: dict[Node, bool] = {}
    for node in graph.nodes:
        is_head = node.role == "W" and node.unit is not None and node.unit.role == "head"
        behind[node] = is_head or any(behind[source] for source in node.inputs)
        if behind[node] and "dtype" not in node.args and node.cls not in OPERATIONS:
            node.args["dtype"] = "float32"
            node.because += f"; float32 in a head (precision: {graph.precision})"


PRECISION = Pass("precision", keep_heads, ("place", "close", "fuse"), "heads compute in float32 under mixed precision")
