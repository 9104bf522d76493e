"""One layer of the spec → one node of the graph: class and arguments checked, `=` evaluated, wired, named."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, replace
from typing import Any

from kbuild.catalog.layers import FORBIDDEN, LayerFacts, lookup
from kbuild.errors import Problem, Span, listing, suggest
from kbuild.plan.graph import Branch, Graph, Node, Scope, Unit, full_name
from kbuild.spec.items import STRUCTURES
from kbuild.spec.model import Beside, Item, LayerItem, Reference, Spec
from kbuild.spec.objects import Arguments, read_arguments
from kbuild.spec.ordering import UNIT_KEYS
from kbuild.spec.reader import Mapping, Scalar, kind_of, plain
from kbuild.spec.reader import Node as Tree
from kbuild.spec.resolve import resolve
from kbuild.spec.settings import NOTHING, Setting, Settings, origin
from kbuild.spec.unknown import unknown_layer

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


class LayerReader:
    """What a layer needs to become a node; structures are added by `kbuild.plan.passes.expand`."""

    def __init__(self, spec: Spec, graph: Graph):
        self.spec = spec
        self.graph = graph
        self.parsed: dict[int, tuple[Tree | None, Arguments | None]] = {}
        self.uses: dict[tuple[Scope, str], int] = {}
        # Names of layers left out for a problem of their own, and places of expressions that had one: what refers to
        # them is not reported again.
        self.left_out: set[str] = set()
        self.failures: set[int] = set()
        self.steps = 0
        # Layers by full name, for as many nodes as were looked at so far.
        self.full: dict[str, Node] = {}
        self.indexed = 0

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
            unit.beside = frozenset(item.beside.settings)
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
        for node in self.graph.nodes[self.indexed :]:
            if node.local:
                self.full.setdefault(full_name(node.scope, node.local), node)
        self.indexed = len(self.graph.nodes)
        return self.full.get(name)

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
            if key.value in ("pool", "role", "names") and not isinstance(item, LayerItem):
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


def _named(items: tuple[Item, ...], name: str) -> Span | None:
    """Where one of the items has a name."""
    return next((i.beside.name.span for i in items if i.beside.name is not None and i.beside.name.value == name), None)


def _what(item: Item) -> str:
    return item.cls if isinstance(item, LayerItem) else type(item).__name__.removesuffix("Item").lower()
