"""Which BatchNormalization can be folded into which weight layer at export, and why others cannot.

Backward, into the W before: W' = gamma W / sqrt(v + eps), b' = gamma (b - mu) / sqrt(v + eps) + beta; exact where N
follows W with nothing but D, the identity at inference, between. Forward, into the W behind: exact where only D,
Flatten and reshapes lie between, N has one reader, and a convolution there pads nothing, for the shift does not hold
in the padding.
"""

from __future__ import annotations

from kbuild.plan.graph import Graph, Node, Pass
from kbuild.plan.passes.bias import own_activation


def decide_folding(graph: Graph) -> None:
    """Set `folds_into` and `fold_because` of every normalization."""
    readers = graph.readers()
    outputs = set(graph.outputs)
    for node in graph.nodes:
        if node.role == "N":
            node.folds_into, node.fold_because = _fold(node, readers, outputs)


def _fold(node: Node, readers: dict[Node, list[Node]], outputs: set[Node]) -> tuple[Node | None, str]:
    if node.cls != "BatchNormalization":
        return None, f"does not fold: {node.cls} computes its statistics from each input"
    weight, why_not_back = _backward(node, readers, outputs)
    if weight is not None:
        return weight, f"folds back into {weight.name}"
    weight, why_not_forward = _forward(node, readers, outputs)
    if weight is not None:
        return weight, f"folds forward into {weight.name}"
    return None, f"does not fold: {why_not_back}; {why_not_forward}"


def _backward(node: Node, readers: dict[Node, list[Node]], outputs: set[Node]) -> tuple[Node | None, str]:
    at = node.inputs[0]
    while at.role == "D" and len(readers[at]) == 1 and at not in outputs:
        at = at.inputs[0]
    if at.role != "W":
        return None, f"before it stands {at.name or at.cls} ({at.cls}), no weight layer"
    if len(readers[at]) != 1 or at in outputs:
        return None, f"{at.name} has other readers"
    if own_activation(at):
        return None, f"{at.name} applies its own {own_activation(at)}"
    reason = _cannot_take(at, node)
    return (None, reason) if reason else (at, "")


def _forward(node: Node, readers: dict[Node, list[Node]], outputs: set[Node]) -> tuple[Node | None, str]:
    at = node
    while True:
        if at in outputs:
            return None, f"{at.name} is an output"
        if len(readers[at]) != 1:
            return None, f"{at.name} has {len(readers[at])} readers"
        reader = readers[at][0]
        if reader.role == "D" or reader.cls in ("Flatten", "Reshape", "Identity"):
            at = reader
            continue
        break
    if reader.role != "W":
        return None, f"behind it stands {reader.name} ({reader.cls}), no weight layer"
    if reader.facts.kind == "conv" and reader.args.get("padding", "valid") != "valid":
        return None, f"{reader.name} pads with zeros, where the shift does not hold"
    if "Transpose" in reader.cls:
        return None, f"{reader.name} is transposed: its borders see fewer weights"
    if reader.cls.startswith("Separable") or reader.cls.startswith("Depthwise"):
        return (reader, "") if not _cannot_take(reader, node) else (None, _cannot_take(reader, node))
    reason = _cannot_take(reader, node)
    return (None, reason) if reason else (reader, "")


def _cannot_take(weight: Node, norm: Node) -> str:
    if weight.cls == "EinsumDense":
        return f"{weight.name} is an EinsumDense, whose axes have no fixed meaning"
    axis = norm.args.get("axis", -1)
    channels = 1 if weight.args.get("data_format") == "channels_first" else -1
    rank = len(norm.shape) if norm.shape else 0
    if axis not in (channels, [channels]) and not (rank and axis in (rank - 1,) and channels == -1):
        return f"it normalizes axis {axis}, not the channels"
    return ""


FOLD = Pass("fold", decide_folding, ("infer", "dropout_kind"), "every normalization says whether it folds")
