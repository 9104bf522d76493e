"""Activations that stay inside their weight layer: `fused: true`, where A stands directly behind its W.

Nothing is computed differently. A model then has one layer where it would have two, as Keras code that writes
`Dense(64, activation="relu")` has.
"""

from __future__ import annotations

from kbuild.plan.graph import Graph, Node, Pass, Unit


def fuse(graph: Graph) -> None:
    """Turn every A that stands directly behind its W into W's own argument, where the unit is fused."""
    if not any(_wanted(unit) for unit in graph.units):
        return
    readers = graph.readers()
    outputs = set(graph.outputs)
    gone: dict[Node, Node] = {}
    for unit in graph.units:
        activation = unit.letters.get("A")
        if not _wanted(unit) or activation is None or activation.cls != "Activation":
            continue
        weight = unit.node
        if activation.inputs != [weight] or len(readers[weight]) > 1 or weight in outputs:
            continue
        if "activation" not in weight.facts.signature.arguments:
            continue
        weight.args["activation"] = activation.args["activation"]
        setting = unit.settings.fused
        weight.settings["activation"] = f"fused, {setting.because if setting else ''}"
        unit.letters["A"] = gone[activation] = weight
    for node in graph.nodes:
        node.inputs = [gone.get(source, source) for source in node.inputs]
    graph.nodes = [node for node in graph.nodes if node not in gone]
    graph.outputs = [gone.get(node, node) for node in graph.outputs]


def _wanted(unit: Unit) -> bool:
    return unit.settings.fused is not None and bool(unit.settings.fused.value)


FUSE = Pass("fuse", fuse, ("place", "residual", "close"), "fused activations are arguments of their weight layers")
