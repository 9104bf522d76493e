"""Plan → program: a function for every block, a loop for every repeat, where layers agree up to numbers and names.

What the policy made different (a first unit without its N, letters moved out of a block) gets a function of its own or
stands as plain layers. The program is expanded again and compared with the plan; it never says anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from kbuild.plan.plan import Plan
from kbuild.show.eject.differ import Parameters, Rounds, substitute_body, unify_bodies
from kbuild.show.eject.names import free_name, identifier
from kbuild.show.eject.program import (
    Body,
    Call,
    Function,
    Layers,
    Loop,
    Make,
    Program,
    Statement,
    loops_within,
    plain_make,
    shape_key,
    usual,
)
from kbuild.show.eject.values import MismatchError, text
from kbuild.show.structure import Segment, Wiring, outline


def fold(plan: Plan) -> Program:
    """The program of a plan, with functions and loops; one plain list of layers where these would not be faithful."""
    program = _Folder(plan).program()
    return program if faithful(program, plan) else flat(plan)


def flat(plan: Plan) -> Program:
    """The program of a plan without functions and loops."""
    wiring = Wiring(plan)
    statements = [_make(plan, wiring, at) for at in range(len(plan.layers))]
    return Program((), Body(None, tuple(statements)), wiring.outputs)


def faithful(program: Program, plan: Plan) -> bool:
    """Whether a program makes the layers of a plan, no more and no less, and the same outputs."""
    layers = Layers()
    layers.run(program.body, None, {})
    made = {name: (cls, usual(cls, config), inputs) for name, cls, config, inputs in layers.made}
    planned = {layer.name: (layer.cls, usual(layer.cls, layer.config), layer.inputs) for layer in plan.layers}
    outputs = tuple(layers.names[at] for at in program.outputs)
    return made == planned and len(layers.made) == len(plan.layers) and outputs == plan.outputs


def _make(plan: Plan, wiring: Wiring, at: int) -> Make:
    layer = plan.layers[at]
    return plain_make(layer.cls, layer.name, layer.config, wiring.inputs[at], at)


@dataclass
class _Use:
    """One use of a block: its segment and the statements in it."""

    segment: Segment
    body: Body


class _Folder:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.wiring = Wiring(plan)
        self.root = outline(plan)
        self.done: dict[int, list[Statement]] = {}
        self.functions: list[Function] = []
        self.names: set[str] = set()

    def program(self) -> Program:
        by_height: dict[int, list[Segment]] = {}
        heights: dict[int, int] = {}
        for segment in self.root.segments():
            inner = [heights[id(child)] for child in segment.children if isinstance(child, Segment)]
            block = segment.frame is not None and bool(segment.frame.block)
            heights[id(segment)] = max(inner, default=0) + block
            if block:
                by_height.setdefault(heights[id(segment)], []).append(segment)
        for height in sorted(by_height):
            self._blocks(by_height[height])
        body = Body(None, tuple(self._statements(self.root)))
        return Program(tuple(self.functions), body, self.wiring.outputs)

    # -- blocks -----------------------------------------------------------------------------------------------------

    def _blocks(self, segments: Sequence[Segment]) -> None:
        groups: dict[Any, list[_Use]] = {}
        for segment in segments:
            statements = self._statements(segment)
            entry = self.wiring.entry(segment.first, segment.last)
            if entry is None or segment.size < 2 or segment.frame is None:
                self.done[id(segment)] = statements
                continue
            body = Body(entry, tuple(statements))
            groups.setdefault((segment.frame.block, shape_key(body)), []).append(_Use(segment, body))
        largest = sorted(groups.items(), key=lambda group: -len(group[1]))
        for (block, _), uses in largest:
            self._function(block, uses)

    def _function(self, block: str, uses: list[_Use]) -> None:
        labels = [use.segment.frame.label for use in uses if use.segment.frame]
        params = Parameters(labels)
        try:
            body = unify_bodies([use.body for use in uses], params.number, params.name)
        except MismatchError:
            for use in uses:
                self.done[id(use.segment)] = list(use.body.statements)
            return
        arguments = params.settle()
        body = substitute_body(body, params.replaced)
        given = dict.fromkeys(("name", *arguments))
        name = free_name(identifier(block, "block") + _variant(body, block, self.functions), self.names)
        usual_values = {key: default for key, (default, _) in arguments.items()}
        function = Function(name, block, {**given, **usual_values}, body)
        self.functions.append(function)
        for at, use in enumerate(uses):
            args: dict[str, Any] = {"name": text(labels[at])}
            args.update({key: values[at] for key, (_, values) in arguments.items()})
            entry = use.body.entry
            assert entry is not None
            self.done[id(use.segment)] = [Call(function, args, (entry,), use.segment.last)]

    # -- repeats ----------------------------------------------------------------------------------------------------

    def _statements(self, segment: Segment) -> list[Statement]:
        """The statements of a segment's children; rounds of one repeat become a loop where they can."""
        found: list[Statement] = []
        for (repeat, _), group in groupby(segment.children, key=_repeat_of):
            children = list(group)
            if repeat is not None:
                found.extend(self._loop([child for child in children if isinstance(child, Segment)]))
                continue
            for child in children:
                if isinstance(child, Segment):
                    found.extend(self.done[id(child)])
                else:
                    found.append(_make(self.plan, self.wiring, child))
        return found

    def _loop(self, rounds: list[Segment]) -> list[Statement]:
        """Neighbouring rounds that agree as loops, the others as they are."""
        bodies: list[tuple[Any, list[Statement], Body | None]] = []
        for segment in rounds:
            statements = self._statements(segment)
            entry = self.wiring.entry(segment.first, segment.last)
            body = Body(entry, tuple(statements)) if entry is not None else None
            bodies.append((shape_key(body) if body else id(segment), statements, body))
        found: list[Statement] = []
        for _, group in groupby(bodies, key=lambda each: each[0]):
            members = list(group)
            together = [body for _, _, body in members if body is not None]
            loop = self._as_loop(together) if len(together) > 1 else None
            if loop is not None:
                found.append(loop)
            else:
                found.extend(statement for _, statements, _ in members for statement in statements)
        return found

    def _as_loop(self, bodies: list[Body]) -> Loop | None:
        if any(after.entry != before.out for before, after in pairwise(bodies)):
            return None
        height = len({loop.index for loop in loops_within(bodies[0])})
        rounds = Rounds(f"#{height}", bodies)
        try:
            body = unify_bodies(bodies, rounds.number, rounds.name)
        except MismatchError:
            return None
        entry = bodies[0].entry
        assert entry is not None
        start = 0 if rounds.start is None else rounds.start
        return Loop(rounds.index, start, len(bodies), rounds.over, body, (entry,), bodies[-1].out)


def _repeat_of(child: int | Segment) -> tuple[Any, Any]:
    """The repeat that a child is a round of; None for anything else."""
    if isinstance(child, Segment) and child.frame is not None and not child.frame.block:
        return child.frame.source, None
    return None, None


def _variant(body: Body, block: str, functions: Sequence[Function]) -> str:
    """What tells a second form of a block from the first, for its name."""
    first = next((function for function in functions if function.block == block), None)
    if first is None:
        return ""
    return "_with_projection" if _projects(body) and not _projects(first.body) else ""


def _projects(body: Body) -> bool:
    """Whether its last merge reads something other than what the body begins with."""
    merge = next((one for one in reversed(body.statements) if len(one.inputs) > 1), None)
    return merge is not None and body.entry not in merge.inputs
