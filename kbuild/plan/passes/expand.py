"""Spec → graph: repeats, branches, residuals and blocks expanded, `=` evaluated, layers checked and wired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kbuild.catalog.layers import LayerFacts
from kbuild.errors import Problem, nearest, suggest
from kbuild.plan.graph import Branch, Graph, Node, Scope
from kbuild.plan.passes.expand_layer import LIMITS, LayerReader, LimitReached, Place
from kbuild.plan.passes.expand_size import too_large
from kbuild.plan.passes.expand_table import table_items
from kbuild.spec.model import (
    Beside,
    BranchesItem,
    InputDecl,
    Item,
    LayerItem,
    Reference,
    RepeatItem,
    ResidualItem,
    Spec,
    UseItem,
)
from kbuild.spec.reader import Mapping, Scalar, kind_of, plain
from kbuild.spec.reader import Node as Tree
from kbuild.spec.resolve import resolve
from kbuild.spec.settings import origin
from kbuild.spec.table import Table

__all__ = ["LIMITS", "expand"]

#: Merges whose result depends on the order of their inputs: the shortcut comes first.
_ORDERED = ("Concatenate", "Subtract", "Dot")


def expand(spec: Spec, problems: list[Problem]) -> Graph:
    """Expand a spec.

    Returns:
        The graph of weight layers and all other layers, wired, before any letter is placed. Items with problems are
        left out of it; the problems are added to `problems`.
    """
    graph = Graph(spec.name, spec.ordering, problems=problems)
    expander = _Expander(spec, graph)
    scope = Scope()
    for declared in spec.inputs:
        expander.input(declared, scope)
    start = expander.table(spec.table, scope) if spec.table else graph.nodes[0] if len(graph.nodes) == 1 else None
    refusal = too_large(spec, "expanded-layers", LIMITS["expanded-layers"])
    if refusal is not None:
        problems.append(refusal)
        return graph
    try:
        end = expander.items(spec.layers, start, Place(scope, spec.vars))
    except LimitReached:
        return graph
    expander.outputs(spec.outputs, scope, end)
    return graph


class _Expander(LayerReader):
    """Structures: each puts the layers inside it into the graph and returns the node that the next layer reads."""

    # -- inputs and outputs ---------------------------------------------------------------------------------------

    def input(self, declared: InputDecl, scope: Scope) -> None:
        node = Node("InputLayer", _INPUT, {}, [], "input", declared.span, scope, local=declared.name)
        node.args = {"shape": list(declared.shape), "dtype": declared.dtype}
        node.because = declared.because
        scope.names[declared.name] = node
        self.graph.nodes.append(node)

    def table(self, table: Table, scope: Scope) -> Node | None:
        """The layers between the columns of a table and the spec's own layers; returns what those read."""
        end: Node | None = self.graph.nodes[0]
        for item, because in table_items(table):
            end = self.layer(item, None, Place(scope, self.spec.vars))
            if end is not None:
                end.because = because
        return end

    def outputs(self, chosen: tuple[Reference, ...] | None, scope: Scope, end: Node | None) -> None:
        if chosen is None:
            read = {id(source) for node in self.graph.nodes for source in node.inputs}
            self.graph.outputs = [n for n in self.graph.nodes if id(n) not in read and n.role != "input"]
            return
        place = Place(scope, {})
        found = [self._find(reference, place, "in the spec") for reference in chosen]
        for reference, node in zip(chosen, found, strict=True):
            if node is not None and node.role == "input":
                message = f"the output {reference.name!r} is an input: no layer leads to it"
                self._problem("missing-head", message, reference.span, place)
        self.graph.outputs = list(dict.fromkeys(node for node in found if node is not None))

    # -- items ----------------------------------------------------------------------------------------------------

    def items(self, items: tuple[Item, ...], previous: Node | None, place: Place) -> Node | None:
        for item in items:
            previous = self.item(item, previous, place)
        return previous

    def item(self, item: Item, previous: Node | None, place: Place) -> Node | None:
        self._step(item.span, place)
        if item.beside.when is not None and not self._when(item.beside.when, place):
            return previous
        if isinstance(item, LayerItem):
            return self.layer(item, previous, place)
        if item.beside.sources is not None:
            sources = self._sources(item.beside.sources, place)
            if len(item.beside.sources) > 1:
                message = "a structure reads one layer; its own layers may name others with `from`"
                self._problem("inputs", message, item.beside.sources[1].span, place)
            previous = sources[0] if sources else previous
        place = replace(place, settings=self._settings(item, place))
        if isinstance(item, RepeatItem):
            return self.repeat(item, previous, place)
        if isinstance(item, UseItem):
            return self.use(item, previous, place)
        if isinstance(item, BranchesItem):
            return self.branches(item, previous, place)
        return self.residual(item, previous, place)

    def repeat(self, item: RepeatItem, previous: Node | None, place: Place) -> Node | None:
        node = self._resolve(item.times, place)
        times = plain(node)
        if isinstance(times, float) and times.is_integer():
            times = int(times)
        if not isinstance(times, int) or isinstance(times, bool) or times < 0:
            if not self._failed(node):
                message = f"`times` takes a whole number from 0, not {kind_of(node)}"
                self._problem("wrong-type", message, node.span, place)
            times = 1
        if times > LIMITS["expanded-layers"]:
            self._limit("expanded-layers", node.span, place)
        label = self._label(item.beside)
        scope = place.scope
        for index in range(times):
            self._step(item.span, place)
            called = f"{label}{index + 1}" if label else ""
            inner = Scope(place.scope, called, None if label else index + 1, round=index + 1, span=item.span)
            names = {**place.names, item.index: index}
            scope = inner
            previous = self.items(item.layers, previous, replace(place, scope=inner, names=names))
        if label and previous is not None and times:
            self._register(item.beside, previous, replace(place, scope=scope.parent or scope), alias=True)
        return previous

    def use(self, item: UseItem, previous: Node | None, place: Place) -> Node | None:
        block = self.spec.blocks.get(item.block)
        if block is None:
            hint = suggest(item.block, self.spec.blocks) or "declare it under `blocks`"
            self._problem("unknown-reference", f"there is no block {item.block[:60]!r}", item.span, place, hint)
            self._register(item.beside, previous, place, alias=True)
            return previous
        if item.block in place.chain:
            chain = " -> ".join((*place.chain[place.chain.index(item.block) :], item.block))
            self._problem("recursion", f"the block uses itself: {chain}", item.span, place)
            return previous
        if len(place.chain) >= LIMITS["block-depth"]:
            self._limit("block-depth", item.span, place)
        given: dict[str, tuple[Scalar, Tree]] = {}
        if isinstance(item.arguments, Mapping):
            given = {key.value: (key, value) for key, value in item.arguments}
        elif item.arguments is not None:
            message = f"`with` takes a mapping of parameters to values, not {kind_of(item.arguments)}"
            self._problem("wrong-type", message, item.arguments.span, place, "for example {filters: 32}")
        needed: list[str] = []
        misspelled = {nearest(name, block.params) for name in given if name not in block.params}
        for name, (key, _) in given.items():
            if name not in block.params:
                hint = suggest(name, block.params) or f"parameters: {', '.join(block.params) or 'none'}"
                message = f"the block {block.name} has no parameter {name!r}"
                self._problem("unknown-argument", message, key.span, place, hint)
        trail = (item.span, *place.trail)
        names: dict[str, Any] = dict(self.spec.vars)
        for name, default in block.params.items():
            if name in given:
                value = self._resolve(given[name][1], place)
                names[name] = 1 if self._failed(value) else plain(value)
            elif default is not None:
                names[name] = plain(resolve(default, names, self.graph.problems, trail))
            else:
                names[name] = 1
                needed.append(name)
        if item.arguments is None or isinstance(item.arguments, Mapping):
            missing = [name for name in needed if name not in misspelled]
            if missing:
                message = f"the block {block.name} needs {' and '.join(map(repr, missing))}"
                example = ", ".join(f"{name}: ..." for name in missing)
                self._problem("missing-key", message, item.span, place, f"add  with: {{{example}}}")
        label = self._label(item.beside)
        counted = not label
        if counted:
            pair = (self._labelled(place.scope), block.name)
            self.uses[pair] = self.uses.get(pair, 0) + 1
            label = f"{block.name}{self.uses[pair]}"
        inner = Scope(place.scope, label, counted=counted, block=item.block, span=item.span)
        inside = replace(place, scope=inner, names=names, trail=trail, chain=(*place.chain, item.block))
        end = self.items(block.layers, previous, inside)
        self._register(item.beside, end, place, alias=True)
        return end

    def branches(self, item: BranchesItem, previous: Node | None, place: Place) -> Node | None:
        ends = [self.items(path, previous, place) for path in item.paths]
        return self._merge(item.merge, "Concatenate", [end for end in ends if end is not None], item, place)

    def residual(self, item: ResidualItem, previous: Node | None, place: Place) -> Node | None:
        if previous is None:
            message = "nothing stands before this residual; say what it reads with `from`"
            self._problem("inputs", message, item.span, place, self._inputs_hint())
            return None
        branch = Branch(place.branch, previous, settings=place.settings)
        end = self.items(item.layers, previous, replace(place, branch=branch))
        shortcut: Node | None = previous
        if not isinstance(item.shortcut, str):
            path = Branch(place.branch, previous, shortcut=True)
            shortcut = self.items(item.shortcut, previous, replace(place, branch=path))
        ends = [node for node in (end, shortcut) if node is not None]
        name = _merge_name(item.merge)
        if item.shortcut_first or (item.shortcut_first is None and name in _ORDERED):
            ends.reverse()
        merge = self._merge(item.merge, "Add", ends, item, place)
        if merge is not None and len(merge.inputs) == 2:
            branch.merge = merge
            branch.auto = item.shortcut == "auto"
            branch.end = end
            self.graph.branches.append(branch)
        return merge

    def _merge(self, node: Tree | None, default: str, ends: list[Node], item: Item, place: Place) -> Node | None:
        body = Scalar(default, item.span) if node is None else node
        name, args = body, None
        if isinstance(body, Mapping) and len(body) == 1:
            name, args = body.entries[0]
        if not isinstance(name, Scalar) or not isinstance(name.value, str):
            message = f"`merge` takes a merge layer such as Add, not {kind_of(body)}"
            self._problem("wrong-type", message, body.span, place)
            return ends[0] if ends else None
        merged = LayerItem(name.value, args, Beside(), item.span if node is None else name.span)
        facts = self._facts(merged, place)
        if facts is not None and facts.role != "merge":
            self._problem(
                "wrong-type", f"`merge` takes a merge layer such as Add; {facts.name} is none", name.span, place
            )
            facts = None
        found = self._args(merged, place) if facts else None
        if facts is None or found is None:
            self._register(item.beside, ends[0] if ends else None, place, alias=True)
            return ends[0] if ends else None
        if facts.most is not None and len(ends) > facts.most:
            message = f"{facts.name} reads {facts.reads_text}. Received: {len(ends)}"
            self._problem("inputs", message, merged.span, place)
        merge = Node(facts.name, facts, dict(found.values), ends, facts.role, item.span, place.scope, place.trail)
        merge.stem = facts.stem
        merge.because = f"merge of {type(item).__name__.removesuffix('Item').lower()}, {origin(item.span)}"
        self._add(merge, place)
        self._register(item.beside, merge, place)
        return merge


_INPUT = LayerFacts("InputLayer", "input", "input")


def _merge_name(node: Tree | None) -> str:
    if isinstance(node, Mapping) and len(node) == 1:
        return node.entries[0][0].value
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else "Add"
