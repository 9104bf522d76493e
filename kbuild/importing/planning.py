"""A network and the order found in it → the plan with every letter where it stands."""

from __future__ import annotations

from dataclasses import replace

from kbuild.catalog.layers import LayerFacts
from kbuild.errors import Source, Span
from kbuild.importing.letters import Found, FoundUnit
from kbuild.importing.network import Layer, Network
from kbuild.plan.graph import Graph, Node, Scope, Unit
from kbuild.plan.passes import bias, edges, fold, infer
from kbuild.plan.pipeline import freeze
from kbuild.plan.plan import Plan
from kbuild.spec.settings import Setting, Settings

_INPUT = LayerFacts("InputLayer", "input", "input")


def plan_of(network: Network, found: Found) -> Plan:
    """The plan of a network under the order found in it, every letter where it stands."""
    graph = _graph(network, found)
    edges.find_edges(graph)
    graph.problems.clear()
    for unit, seen in zip(graph.units, found.units, strict=True):
        unit.role = "head" if seen.head else "trunk"
    written = {id(unit.node): "use_bias" in unit.node.args for unit in graph.units}
    for unit in graph.units:
        if "use_bias" in unit.node.facts.signature.arguments:
            unit.node.args.setdefault("use_bias", True)
    _shapes(graph, network)
    bias.decide_biases(graph)
    for unit in graph.units:
        node = unit.node
        if "use_bias" in node.facts.signature.arguments and not written[id(node)]:
            node.bias_because = node.bias_because.replace("use_bias: true is written", "use_bias: true, Keras' default")
    fold.decide_folding(graph)
    notes = [found.text, *network.remarks, *graph.notes]
    plan = freeze(graph)
    return replace(
        plan,
        layers=tuple(replace(layer, source=None) for layer in plan.layers),
        units=tuple(replace(unit, source=None) for unit in plan.units),
        notes=tuple(notes),
    )


def _graph(network: Network, found: Found) -> Graph:
    because = f"found in {network.file}"
    span, scope = Span(Source(network.file, ""), 1, 1), Scope()
    nodes: dict[str, Node] = {}
    for layer in network.layers.values():
        node = Node(
            layer.cls,
            layer.facts or _INPUT,
            dict(layer.args),
            [nodes[n] for n in layer.inputs],
            layer.role,
            span,
            scope,
        )
        node.local = node.name = layer.name
        node.because = because
        nodes[layer.name] = node
    policy = Setting(found.policy, because) if found.policy else None
    ordering = Settings(policy=policy, order=Setting(found.order, f"{because}: {found.text.split(' explains ')[1]}"))
    graph = Graph(network.name, ordering, list(nodes.values()))
    for seen in found.units:
        unit = _unit(seen, network, nodes, because)
        graph.units.append(unit)
        for letter, name in (*seen.before, *seen.after):
            node = nodes[name]
            if name != seen.weight:
                node.unit, node.role = unit, letter
                node.because = f"{letter} of {seen.weight}, {because}"
    graph.outputs = [nodes[name] for name in network.outputs]
    return graph


def _unit(seen: FoundUnit, network: Network, nodes: dict[str, Node], because: str) -> Unit:
    node = nodes[seen.weight]
    unit = Unit(node, settings=Settings(order=Setting(seen.order, because)))
    node.unit = unit
    node.because = f"weight layer, {because}"
    unit.letters = {letter: nodes[name] for letter, name in seen.layers.items()}
    unit.first = seen.first
    activation = activation_of(network.layers[seen.layers["A"]]) if "A" in seen.layers else None
    unit.activation = Setting(activation, because if activation else "linear")
    return unit


def activation_of(layer: Layer) -> str | dict[str, object]:
    """What a spec writes for the layer of an A: a function's name, or an activation layer with its arguments."""
    if layer.role == "W" or layer.cls == "Activation":
        return str(layer.args["activation"])
    return {"class_name": layer.cls, "config": dict(layer.args)}


def _shapes(graph: Graph, network: Network) -> None:
    """By the catalog's rules, or as the config records them where the catalog has none."""
    for node in graph.nodes:
        known = len(graph.problems)
        infer.infer_node(graph, node)
        recorded = network.layers[node.name].shape
        if node.shape is None and recorded is not None:
            node.shape = recorded
        elif node.shape is not None and recorded is not None and node.shape[1:] != recorded[1:]:
            graph.notes.append(f"{node.name}: the catalog gives {node.shape}, the model says {recorded}")
            node.shape = recorded
        graph.notes += [f"{node.name}: {problem.message}" for problem in graph.problems[known:]]


def automatic_biases(network: Network, found: Found) -> dict[str, bool]:
    """Weight layer → the `use_bias` that `auto` gives it in this graph."""
    graph = _graph(network, found)
    _shapes(graph, network)
    readers, outputs = graph.readers(), set(graph.outputs)
    return {
        unit.node.name: bias.cancelling_norm(unit.node, readers[unit.node], unit.node in outputs) is None
        for unit in graph.units
    }
