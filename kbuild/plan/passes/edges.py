"""Which units are heads, which read the raw input, and which are the last before a head."""

from __future__ import annotations

from kbuild.plan.graph import Graph, Node, Pass, upstream
from kbuild.spec.settings import origin

#: Structural roles through which the input is still raw.
_RAW = {"input", "preprocessing", "padding", "reshape", "merge", "D"}


def prune(graph: Graph) -> None:
    """Drop the layers that no output depends on."""
    needed: set[int] = set()
    pending = list(graph.outputs)
    while pending:
        node = pending.pop()
        if id(node) not in needed:
            needed.add(id(node))
            pending.extend(node.inputs)
    for node in graph.nodes:
        if id(node) not in needed:
            if node.role == "input":
                graph.problem("unused-layer", f"no output depends on the input {node.local!r}", node)
            else:
                graph.notes.append(f"{node.local or node.cls} ({origin(node.span)}) leads to no output and is left out")
    graph.nodes = [node for node in graph.nodes if id(node) in needed]
    graph.units = [unit for unit in graph.units if id(unit.node) in needed]


def find_edges(graph: Graph) -> None:
    """Set the role of every unit, and `first` and `last`."""
    leads_to_unit: dict[Node, bool] = dict.fromkeys(graph.nodes, False)
    for node in reversed(graph.nodes):
        if node.unit is not None or leads_to_unit[node]:
            for source in node.inputs:
                leads_to_unit[source] = True
    for unit in graph.units:
        chosen = unit.own.role
        unit.role = chosen.value if chosen else "trunk" if leads_to_unit[unit.node] else "head"
    leads_to_trunk: dict[Node, bool] = dict.fromkeys(graph.nodes, False)
    for node in reversed(graph.nodes):
        if (node.unit is not None and node.unit.role == "trunk") or leads_to_trunk[node]:
            for source in node.inputs:
                leads_to_trunk[source] = True
    raw: dict[Node, bool] = {}
    for node in graph.nodes:
        raw[node] = node.unit is None and node.role in _RAW and all(raw[source] for source in node.inputs)
    for unit in graph.units:
        unit.first = all(raw[source] for source in unit.node.inputs)
        unit.last = unit.role == "trunk" and not leads_to_trunk[unit.node]
    _missing_heads(graph)


def _missing_heads(graph: Graph) -> None:
    weighted: dict[Node, bool] = {}
    for node in graph.nodes:
        own = node.role in ("W", "other")
        weighted[node] = own or any(weighted[source] for source in node.inputs)
    for node in graph.outputs:
        if not weighted[node]:
            hint = "a head is a weight layer such as Dense: 10"
            message = f"no weight layer leads to the output {node.local or node.cls!r}: the model has no head"
            graph.problem("missing-head", message, node, hint)
    if not graph.outputs and not graph.problems:
        # Nothing but inputs: the place is the last of them.
        graph.problem("missing-head", "there is no layer that could be an output", graph.nodes[-1])


def heads_of(output: Node) -> list[Node]:
    """The weight layers of the heads that lead to an output, no other unit between."""
    if output.unit is not None and output.role == "W":
        return [output]
    found = [n for n in upstream(output, lambda n: n.role != "W") if n.role == "W"]
    return [node for node in found if node.unit is not None and node.unit.role == "head"]


PRUNE = Pass("prune", prune, (), "every layer leads to an output")
EDGES = Pass("edges", find_edges, ("prune",), "every unit knows whether it is head, first or last")
