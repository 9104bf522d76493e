"""Spec → graph: repeats, branches, residuals and blocks expanded, `=` evaluated, layers checked and wired."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, replace
from typing import Any

from kbuild.catalog.layers import FORBIDDEN, LayerFacts, lookup
from kbuild.errors import Problem, Span, listing, nearest, suggest
from kbuild.plan.graph import Branch, Graph, Node, Scope, Unit
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
from kbuild.spec.items import STRUCTURES
from kbuild.spec.objects import Arguments, read_arguments, unknown_layer
from kbuild.spec.reader import Mapping, Node as Tree, Scalar, kind_of, plain
from kbuild.spec.resolve import resolve
from kbuild.spec.settings import NOTHING, UNIT_KEYS, Setting, Settings, origin

#: Bounds on the expansion, by the name the error shows.
LIMITS = {"expanded-layers": 50_000, "expanded-items": 200_000, "block-depth": 32}

_LINEAR = (None, "linear")


class LimitReached(Exception):
    """The expansion exceeded a limit; the problem is recorded."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item is expanded: what names mean, what settings hold, and how the place was reached."""

    scope: Scope
    names: ReadOnly[str, Any]
    trail: tuple[Span, ...] = ()
    settings: Settings = NOTHING
    branch: Branch | None = None
    chain: tuple[str, ...] = ()


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
    start = graph.nodes[0] if len(graph.nodes) == 1 else None
    try:
        end = expander.items(spec.layers, start, Place(scope, spec.vars))
    except LimitReached:
        return graph
    expander.outputs(spec.outputs, scope, end)
    return graph


class _Expander:
    def __init__(self, spec: Spec, graph: Graph):
        self.spec = spec
        self.graph = graph
        self.parsed: dict[int, tuple[Tree | None, Arguments | None]] = {}
        self.uses: dict[tuple[int, str], int] = {}
        # Names of layers left out for a problem of their own, and places of expressions that had one: what refers to
        # them is not reported again.
        self.left_out: set[str] = set()
        self.failures: set[int] = set()
        self.steps = 0

    # -- inputs and outputs ---------------------------------------------------------------------------------------

    def input(self, declared: InputDecl, scope: Scope) -> None:
        node = Node("InputLayer", _INPUT, {}, [], "input", declared.span, scope, local=declared.name)
        node.args = {"shape": list(declared.shape), "dtype": declared.dtype}
        node.because = "input of the spec"
        scope.names[declared.name] = node
        self.graph.nodes.append(node)

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

    def layer(self, item: LayerItem, previous: Node | None, place: Place) -> Node | None:
        facts = self._facts(item, place)
        arguments = self._args(item, place) if facts else None
        sources = self._inputs(item, facts, previous, place)
        if facts is None or arguments is None:
            self._register(item.beside, previous, place, alias=True)
            return previous
        args, spans = dict(arguments.values), arguments.spans
        role = facts.role
        node = Node(facts.name, facts, args, sources, role, item.span, place.scope, place.trail, spans)
        node.stem = facts.stem
        node.because = f"written in {origin(item.span)}"
        settings = self._settings(item, place)
        if role == "W":
            activation = args.pop("activation", None)
            where = origin(spans.get("activation", item.span))
            value = None if activation in _LINEAR else activation
            unit = Unit(node, settings, place.branch, Setting(value, where, spans.get("activation")))
            node.unit = unit
            self.graph.units.append(unit)
            if place.branch is not None:
                place.branch.units.append(unit)
        elif item.beside.settings:
            for key, _ in item.beside.settings.values():
                message = f"`{key.value}` stands beside weight layers; {item.cls} is none"
                self._problem("unknown-key", message, key.span, place)
        self._add(node, place)
        self._register(item.beside, node, place)
        return node

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
            inner = Scope(place.scope, f"{label}{index + 1}" if label else "", None if label else index + 1)
            names = {**place.names, "i": index}
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
                names[name] = plain(self._resolve(given[name][1], place))
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
        if not label:
            counted = (id(self._labelled(place.scope)), block.name)
            self.uses[counted] = self.uses.get(counted, 0) + 1
            label = f"{block.name}{self.uses[counted]}"
        inner = Scope(place.scope, label)
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
        branch = Branch(place.branch, previous)
        end = self.items(item.layers, previous, replace(place, branch=branch))
        shortcut: Node | None = previous
        if not isinstance(item.shortcut, str):
            path = Branch(place.branch, previous, shortcut=True)
            shortcut = self.items(item.shortcut, previous, replace(place, branch=path))
        ends = [node for node in (end, shortcut) if node is not None]
        name = _merge_name(item.merge)
        if name == "Concatenate":
            # Where the order of inputs matters the shortcut comes first.
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

    # -- pieces ---------------------------------------------------------------------------------------------------

    def _facts(self, item: LayerItem, place: Place) -> LayerFacts | None:
        facts = None if item.cls in FORBIDDEN else lookup(item.cls)
        if facts is None:
            self._extend([unknown_layer(item.cls, item.span, STRUCTURES)], place)
        return facts

    def _args(self, item: LayerItem, place: Place) -> Arguments | None:
        node = None if item.args is None else self._resolve(item.args, place)
        known = self.parsed.get(id(item))
        if known is not None and known[0] is node:
            return known[1]
        own: list[Problem] = []
        if node is not None and self._failed(node):
            # What is wrong beside the broken expressions is reported all the same.
            if isinstance(node, Mapping):
                whole = tuple((key, value) for key, value in node if not self._failed(value))
                read_arguments(item.cls, Mapping(whole, node.span), own, item.span)
                self._extend([problem for problem in own if problem.code != "missing-key"], place)
            return None
        arguments = read_arguments(item.cls, node, own, item.span)
        self._extend(own, place)
        if node is item.args and not own:
            # The same nodes give the same arguments in every round of a repeat.
            self.parsed[id(item)] = (node, arguments)
        return arguments

    def _inputs(self, item: LayerItem, facts: LayerFacts | None, previous: Node | None, place: Place) -> list[Node]:
        written = item.beside.sources
        if written is None:
            if previous is None and (facts is not None):
                message = f"nothing stands before {item.cls}; say what it reads with `from`"
                self._problem("inputs", message, item.span, place, self._inputs_hint())
            found = [previous] if previous is not None else []
        else:
            found = self._sources(written, place)
            if len(found) < len(written):
                return found
        if facts is not None and found and not facts.least <= len(found) <= (facts.most or len(found)):
            span = written[0].span if written else item.span
            hint = "name them with  from: [a, b]" if facts.least > len(found) else ""
            message = f"{item.cls} reads {facts.reads_text}. Received: {len(found)}"
            self._problem("inputs", message, span, place, hint)
        return found

    def _inputs_hint(self) -> str:
        names = [declared.name for declared in self.spec.inputs]
        return f"the inputs are {listing(names)}" if len(names) > 1 else ""

    def _sources(self, references: tuple[Reference, ...], place: Place) -> list[Node]:
        found = [self._find(reference, place) for reference in references]
        return [node for node in found if node is not None]

    def _find(self, reference: Reference, place: Place, where: str = "before this one") -> Node | None:
        name = reference.name
        node = place.scope.find(name) or self._full(name)
        if node is None and name not in self.left_out:
            inside = next((full_name(n.scope, n.local) for n in self.graph.nodes if n.local == name), "")
            later = _named(self.spec.layers, name) if not inside else None
            hint = suggest(name, place.scope.visible())
            if inside:
                hint = f"names inside a structure are local; from here it is {inside!r}"
            elif later is not None:
                hint = f"it stands behind this one, in line {later.line}; a layer reads what stands before it"
            message = f"no layer {where} is named {name[:60]!r}"
            self._problem("unknown-reference", message, reference.span, place, hint)
        return node

    def _full(self, name: str) -> Node | None:
        """A layer by its full name, the way `summarize` prints it."""
        return next(
            (n for n in self.graph.nodes if n.local and "_" in name and full_name(n.scope, n.local) == name), None
        )

    def _register(self, beside: Beside, node: Node | None, place: Place, alias: bool = False) -> None:
        """Make a name findable; an `alias` stands for the end of a structure and names no layer."""
        if beside.name is None:
            return
        name = beside.name.value
        if node is None:
            self.left_out.add(name)
            return
        if name in place.scope.names:
            message = f"two layers are named {name!r} here"
            first = place.scope.names[name].span
            self._problem("duplicate-name", message, beside.name.span, place, f"the first stands in line {first.line}")
            return
        place.scope.names[name] = node
        if not alias:
            node.local = name

    def _add(self, node: Node, place: Place) -> None:
        if len(self.graph.nodes) >= LIMITS["expanded-layers"]:
            self._limit("expanded-layers", node.span, place)
        self.graph.nodes.append(node)

    def _settings(self, item: Item, place: Place) -> Settings:
        found = place.settings
        for key, node in item.beside.settings.values():
            if key.value in ("pool", "role") and not isinstance(item, LayerItem):
                message = f"`{key.value}` stands beside one weight layer, not beside a structure"
                self._problem("unknown-key", message, key.span, place)
                continue
            value = self._resolve(node, place)
            if self._failed(value):
                continue
            what = item.beside.name.value if item.beside.name else _what(item)
            own: list[Problem] = []
            found = found.overlay(UNIT_KEYS[key.value](value, f"{key.value} of {what}, {origin(node.span)}", own))
            self._extend(own, place)
        return found

    def _when(self, node: Tree, place: Place) -> bool:
        found = self._resolve(node, place)
        value = plain(found)
        if isinstance(value, bool):
            return value
        if not self._failed(found):
            message = f"`when` takes a comparison such as =stride > 1, not {kind_of(found)}"
            self._problem("wrong-type", message, node.span, place)
        return True

    def _label(self, beside: Beside) -> str:
        return beside.name.value if beside.name is not None else ""

    def _labelled(self, scope: Scope) -> Scope:
        """The nearest scope whose label makes names unique."""
        while not scope.label and scope.parent is not None:
            scope = scope.parent
        return scope

    def _resolve(self, node: Tree, place: Place) -> Tree:
        own: list[Problem] = []
        found = resolve(node, place.names, own, place.trail)
        self.failures.update(id(problem.span) for problem in own)
        self.graph.problems.extend(own)
        return found

    def _failed(self, node: Tree) -> bool:
        """Whether an expression in a node had a problem already, so that its value says nothing."""
        if isinstance(node, Scalar):
            return id(node.span) in self.failures
        children = [value for _, value in node] if isinstance(node, Mapping) else node.items
        return bool(self.failures) and any(self._failed(child) for child in children)

    def _extend(self, own: list[Problem], place: Place) -> None:
        self.graph.problems.extend(replace(p, trail=place.trail) if place.trail else p for p in own)

    def _problem(self, code: str, message: str, span: Span, place: Place, hint: str = "") -> None:
        self.graph.problems.append(Problem(code, message, span, hint, place.trail))

    def _step(self, span: Span, place: Place) -> None:
        self.steps += 1
        if self.steps > LIMITS["expanded-items"]:
            self._limit("expanded-items", span, place)

    def _limit(self, name: str, span: Span, place: Place) -> None:
        message = f"the spec expands beyond the limit {name} ({LIMITS[name]})"
        self._problem("limit", message, span, place)
        raise LimitReached


_INPUT = LayerFacts("InputLayer", "input", "input")


def _named(items: tuple[Item, ...], name: str) -> Span | None:
    """Where one of the items has a name."""
    return next((i.beside.name.span for i in items if i.beside.name is not None and i.beside.name.value == name), None)


def _merge_name(node: Tree | None) -> str:
    if isinstance(node, Mapping) and len(node) == 1:
        return node.entries[0][0].value
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else "Add"


def _what(item: Item) -> str:
    return item.cls if isinstance(item, LayerItem) else type(item).__name__.removesuffix("Item").lower()


def full_name(scope: Scope | None, local: str) -> str:
    """The name with the place of use in it: `b1_dw` in a block used as b1, `dw_2` in the second round of a repeat.

    A number follows the first name or label inside the round it counts.
    """
    labels: list[tuple[str, int | None]] = []
    while scope is not None:
        labels.append((scope.label, scope.number))
        scope = scope.parent
    parts: list[str] = []
    pending: list[int] = []
    for label, number in reversed(labels):
        if number is not None:
            pending.append(number)
        if label:
            parts.append("_".join([label, *map(str, pending)]))
            pending = []
    return "_".join([*parts, local, *map(str, pending)])
