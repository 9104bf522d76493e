"""The graph that the passes work on: the expanded layers, wired, with what the policy decides about each unit.

Nodes stand in topological order; readers refer to nodes, never to names, so that a pass can put layers between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kbuild.catalog.layers import LayerFacts
from kbuild.errors import Problem, Span
from kbuild.plan.plan import Shape
from kbuild.spec.settings import NOTHING, Setting, Settings


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Where names are looked up: the spec, a use of a block, or one round of a repeat.

    `label` prefixes the full names of what stands inside; `number` follows the next name inside, unless that is a
    label that is `counted`: one that no other use has, in whatever round of a repeat. `block` is the block's name
    at a use and "" in a `round` of a repeat; `span` is where the `use` or the `repeat` stands.
    """

    parent: Scope | None = None
    label: str = ""
    number: int | None = None
    counted: bool = False
    block: str = ""
    round: int | None = None
    span: Span | None = None
    names: dict[str, Node] = field(default_factory=dict)

    def find(self, name: str) -> Node | None:
        """The nearest node of that name, looking outwards."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def visible(self) -> list[str]:
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            names.extend(scope.names)
            scope = scope.parent
        return names


def full_name(scope: Scope | None, local: str) -> str:
    """The name with the place of use in it: `b1_dw` in a block used as b1, `dw_2` in the second round of a repeat.

    A number follows the first name or label inside the round it counts.
    """
    around: list[Scope] = []
    while scope is not None:
        around.append(scope)
        scope = scope.parent
    parts: list[str] = []
    pending: list[int] = []
    for each in reversed(around):
        if each.number is not None:
            pending.append(each.number)
        if each.label:
            parts.append(each.label if each.counted else "_".join([each.label, *map(str, pending)]))
            pending = []
    return "_".join([*parts, local, *map(str, pending)])


@dataclass(slots=True, eq=False)
class Branch:
    """The inside of a residual.

    Attributes:
        merge: the node that joins branch and shortcut (set when both are expanded).
        parent: the branch around this one, or None.
        units: the units of the branch itself, not of branches inside it, in order.
        entry: the node that the residual reads.
        end: the last node of the branch.
        auto: whether a projection stands in the shortcut where shapes differ.
        shortcut: whether this is the shortcut path, whose units keep no A and no D.
        settings: what the structures around it set.
    """

    parent: Branch | None
    entry: Node
    shortcut: bool = False
    merge: Node | None = None
    end: Node | None = None
    auto: bool = False
    projection: Unit | None = None
    units: list[Unit] = field(default_factory=list)
    settings: Settings = NOTHING


@dataclass(slots=True, eq=False)
class Node:
    """One layer.

    Attributes:
        cls: public Keras class name.
        facts: its row in the catalog.
        args: Keras arguments as written (serialized), defaults left out.
        inputs: the nodes it reads.
        role: the letter it stands for, or the catalog's structural role.
        span: where it was written; `trail` leads from a block to the places of use.
        local: the name the user gave it, or "".
        stem: the start of an automatic name, used where `local` is empty.
        scope: where it stands, for its full name.
        suffix: what the automatic name of a letter ends in; `given` is the name written for it under `names`, or "".
        unit: the unit it belongs to, or None.
        name: the full name, set by the naming pass.
        shape, weights, trainable: set by the inference pass; None where the catalog has no rule.
    """

    cls: str
    facts: LayerFacts
    args: dict[str, Any]
    inputs: list[Node]
    role: str
    span: Span
    scope: Scope
    trail: tuple[Span, ...] = ()
    arg_spans: dict[str, Span] = field(default_factory=dict)
    local: str = ""
    stem: str = ""
    suffix: str = ""
    given: str = ""
    unit: Unit | None = None
    name: str = ""
    because: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    shape: Shape | None = None
    weights: int | None = None
    trainable: int | None = None
    bias_because: str = ""
    folds_into: Node | None = None
    fold_because: str = ""


#: The activation of a unit that has none.
LINEAR = Setting(None, "linear")


@dataclass(slots=True, eq=False)
class Unit:
    """A weight layer and what the policy decided about it.

    Attributes:
        node: the weight layer.
        own: settings written beside it, block and unit.
        settings: all levels overlaid; set by the pass `settle`.
        activation: the Setting of its activation; its value is None for linear.
        branch: the innermost residual branch it stands in, or None.
        role: "trunk" or "head"; `first` where it reads the raw input.
        before, after: the letters that will stand on each side of W.
        letters: letter → node, once placed.
        end: the node that readers of the unit read, once placed.
        beside: keys of the settings written beside the unit itself, not beside a structure around it.
    """

    node: Node
    own: Settings = NOTHING
    branch: Branch | None = None
    activation: Setting = LINEAR
    settings: Settings = NOTHING
    role: str = "trunk"
    first: bool = False
    last: bool = False
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    letters: dict[str, Node] = field(default_factory=dict)
    elided: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    end: Node | None = None
    beside: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """ "conv" or "dense": what `where` asks for."""
        return self.node.facts.kind


@dataclass(slots=True)
class Graph:
    """The whole model between two passes. `precision` is the dtype policy that the spec trains in."""

    name: str
    ordering: Settings
    nodes: list[Node] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    precision: str = "float32"

    def problem(self, code: str, message: str, node: Node, hint: str = "", span: Span | None = None) -> None:
        """Record a problem at a node's place."""
        self.problems.append(Problem(code, message, span or node.span, hint, node.trail))

    def readers(self) -> dict[Node, list[Node]]:
        """Node → the nodes that read it, each once."""
        found: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                found[source].append(node)
        return found

    def insert(self, after: dict[Node, list[Node]], before: dict[Node, list[Node]]) -> None:
        """Put new nodes into the order: `after[node]` right behind it, `before[node]` right in front of it."""
        order: list[Node] = []
        for node in self.nodes:
            order.extend(before.get(node, ()))
            order.append(node)
            order.extend(after.get(node, ()))
        self.nodes = order

    def sort(self) -> None:
        """Put every node behind what it reads; nodes that stand there already keep their order."""
        order: list[Node] = []
        done: set[Node] = set()
        for start in self.nodes:
            pending = [start]
            while pending:
                node = pending[-1]
                unread = [] if node in done else [source for source in node.inputs if source not in done]
                if unread:
                    pending.extend(reversed(unread))
                    continue
                pending.pop()
                if node not in done:
                    done.add(node)
                    order.append(node)
        self.nodes = order


@dataclass(frozen=True, slots=True)
class Pass:
    """One step from the expanded graph to the resolved one.

    Attributes:
        name: what an error calls it.
        run: changes the graph.
        requires: names of passes that must have run.
        ensures: what holds afterwards, in words.
        gate: whether problems found so far stop the compilation here, all at once.
    """

    name: str
    run: Callable[[Graph], None]
    requires: tuple[str, ...]
    ensures: str
    gate: bool = False


def upstream(node: Node, passes_through: Callable[[Node], bool]) -> Iterable[Node]:
    """The nodes that `node` reads, through every node that `passes_through` lets pass; each once, nearest first."""
    seen: set[int] = set()
    pending = deque(node.inputs)
    while pending:
        found = pending.popleft()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if passes_through(found):
            pending.extend(found.inputs)
