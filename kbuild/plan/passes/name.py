"""Names: the user's own, or stem and number; letters add a suffix. None depends on the policy."""

from __future__ import annotations

import itertools

from kbuild.plan.graph import Graph, Node, Pass, Scope, full_name
from kbuild.spec.settings import origin


def name(graph: Graph) -> None:
    """Give every node its full, unique name.

    Weight layers and layers written in the spec come first, so that a placed letter never takes their names.
    """
    taken: dict[str, Node] = {}
    written = [node for node in graph.nodes if not node.suffix or node.given]
    for node in written:
        if node.given or node.local:
            node.name = full_name(node.scope, node.given or node.local)
            if node.name in taken:
                first = taken[node.name]
                message = f"two layers have the full name {node.name!r}"
                graph.problem("duplicate-name", message, node, f"the first stands in {origin(first.span)}")
            taken[node.name] = node
    counters: dict[str, itertools.count[int]] = {}
    for node in written:
        if not node.local and not node.given:
            prefix = full_name(_labelled(node), node.stem)
            counter = counters.setdefault(prefix, itertools.count(1))
            node.name = next(name for number in counter if (name := f"{prefix}{number}") not in taken)
            taken[node.name] = node
    for node in graph.nodes:
        if node.suffix and not node.given:
            base = full_name(node.scope, node.local) if node.local else f"{_unit_name(node)}_{node.suffix}"
            node.name = _free(base, taken)
            taken[node.name] = node


def _labelled(node: Node) -> Scope | None:
    """The nearest scope with a label: numbers of repeats are left to the counter."""
    scope: Scope | None = node.scope
    while scope is not None and not scope.label:
        scope = scope.parent
    return scope


def _unit_name(node: Node) -> str:
    assert node.unit is not None
    return node.unit.node.name


def _free(base: str, taken: dict[str, Node]) -> str:
    if base not in taken:
        return base
    return next(name for number in itertools.count(2) if (name := f"{base}_{number}") not in taken)


NAME = Pass("name", name, ("place",), "every layer has a unique name", gate=True)
