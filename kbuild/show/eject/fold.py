"""Plan → program: a function for every block, a loop for every repeat, where their layers agree up to numbers and names.

What the policy made different (a first unit without its N, letters moved out of a block) gets a function of its own or
stands as plain layers. The program is expanded again and compared with the plan; it never says anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from kbuild.plan.plan import Plan
from kbuild.show.eject.program import (
    Body,
    Call,
    Function,
    Layers,
    Loop,
    Make,
    Program,
    Statement,
    defaults,
    loops_within,
    optional_number,
    plain_make,
    shape_key,
    usual,
)
from kbuild.show.eject.values import MismatchError, Resolve, Text, Var, is_number, substitute, text, unify
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
        params = _Parameters(labels)
        try:
            body = _unify_bodies([use.body for use in uses], params.number, params.name)
        except MismatchError:
            for use in uses:
                self.done[id(use.segment)] = list(use.body.statements)
            return
        arguments = params.settle()
        body = _substitute(body, params.replaced)
        given = {name: None for name in ("name", *arguments)}
        name = _free(_identifier(block) + _variant(body, block, self.functions), self.names)
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
        if any(after.entry != before.out for before, after in zip(bodies, bodies[1:], strict=False)):
            return None
        height = len({loop.index for loop in loops_within(bodies[0])})
        rounds = _Rounds(f"#{height}", bodies)
        try:
            body = _unify_bodies(bodies, rounds.number, rounds.name)
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


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _identifier(name: str) -> str:
    from kbuild.show.eject.names import identifier

    return identifier(name, "block")


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


# -- what differs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hole:
    """A number that differs from use to use; `settle` makes it a parameter."""

    key: str
    values: tuple[Any, ...]


class _Parameters:
    """Differences between the uses of a block: each becomes a parameter, or follows from one."""

    def __init__(self, labels: Sequence[str]):
        self.labels = labels
        self.holes: dict[Hole, Var | None] = {}

    def number(self, key: str, values: tuple[Any, ...]) -> Hole:
        if any(isinstance(value, Var) for value in values):
            raise MismatchError(key)
        hole = Hole(key, values)
        self.holes[hole] = None
        return hole

    def name(self, names: Sequence[Text]) -> Text:
        """`name` and what follows it; every use's layers begin with the label of the use."""
        rests = [name.without(label) for name, label in zip(names, self.labels, strict=True)]
        if any(rest is None for rest in rests):
            raise MismatchError("name")
        parts = _unify_parts([rest for rest in rests if rest is not None], self.number)
        return Text((Var("name"), *parts))

    def settle(self) -> dict[str, tuple[Any, tuple[Any, ...]]]:
        """Parameter → its default and its value at each use; multiples of one parameter need none of their own."""
        arguments: dict[str, tuple[Any, tuple[Any, ...]]] = {}
        taken = {"name", "x"}
        for hole in sorted(self.holes, key=lambda hole: sum(map(abs, hole.values))):
            base = next((b for b in self.holes if self.holes[b] is not None and _multiple(hole, b)), None)
            if base is not None:
                var = self.holes[base]
                assert var is not None
                scale = _multiple(hole, base)
                self.holes[hole] = Var(var.name, var.scale * scale)
                continue
            name = _free(_identifier(hole.key), taken)
            self.holes[hole] = Var(name)
            arguments[name] = (_default(hole), hole.values)
        in_order = [var.name for var in self.holes.values() if var is not None]
        return {name: arguments[name] for name in dict.fromkeys(in_order) if name in arguments}

    def replaced(self, leaf: Any) -> Any:
        return self.holes[leaf] if isinstance(leaf, Hole) else leaf


def _multiple(hole: Hole, base: Hole) -> int:
    """The whole number that makes every value of `base` that of `hole`, or 0."""
    if hole.key != base.key or not all(isinstance(value, int) for value in (*hole.values, *base.values)):
        return 0
    if not base.values[0] or hole.values[0] % base.values[0]:
        return 0
    scale = int(hole.values[0] // base.values[0])
    return scale if all(a == scale * b for a, b in zip(hole.values, base.values, strict=True)) else 0


def _default(hole: Hole) -> Any:
    """The default of a parameter: a stride of 1 goes without saying."""
    return 1 if hole.key in ("strides", "dilation_rate", "groups", "depth_multiplier") and 1 in hole.values else None


class _Rounds:
    """Differences between rounds: numbers in names follow the index, other numbers are listed."""

    def __init__(self, index: str, bodies: Sequence[Body]):
        self.index, self.count = index, len(bodies)
        self.start: int | None = None
        self.over: dict[str, list[Any]] = {}

    def number(self, key: str, values: tuple[Any, ...]) -> Var:
        if any(isinstance(value, Var) for value in values):
            raise MismatchError(key)
        if key in ("", "start"):
            return self._indexed(values)
        listed = list(values)
        for name, known in self.over.items():
            if name.split("@")[0] == key and known == listed:
                return Var(name)
        name = _free(f"{key}@{self.index}", set(self.over))
        self.over[name] = listed
        return Var(name)

    def _indexed(self, values: tuple[Any, ...]) -> Var:
        step = values[1] - values[0]
        if any(after - before != step for before, after in zip(values, values[1:], strict=False)):
            raise MismatchError("index")
        if self.start is None:
            self.start = values[0] if step == 1 else 1
        return Var(self.index, step, values[0] - step * self.start)

    def name(self, names: Sequence[Text]) -> Text:
        return Text(_unify_parts([name.parts for name in names], self.number))


def _unify_parts(rows: Sequence[tuple[Any, ...]], number: Resolve) -> tuple[Any, ...]:
    if len({len(row) for row in rows}) != 1:
        raise MismatchError("name")
    return tuple(unify(column, "", number) for column in zip(*rows, strict=True))


# -- bodies ---------------------------------------------------------------------------------------------------------


def _unify_bodies(bodies: Sequence[Body], number: Resolve, name: Any) -> Body:
    columns = zip(*(body.statements for body in bodies), strict=True)
    return Body(bodies[0].entry, tuple(_unify_statements(list(column), number, name) for column in columns))


def _unify_statements(column: list[Any], number: Resolve, name: Any) -> Statement:
    first = column[0]
    if isinstance(first, Make):
        config = _unify_configs(first.cls, [one.config for one in column], number)
        return replace(first, name=name([one.name for one in column]), config=config)
    if isinstance(first, Call):
        args = {key: _unify_argument([one.args[key] for one in column], key, number, name) for key in first.args}
        return replace(first, args=args)
    start = unify([one.start for one in column], "start", number)
    count = unify([one.count for one in column], "times", number)
    if any(is_number(count) is False and one.over for one in column):
        raise MismatchError("times")
    over = {key: unify([one.over[key] for one in column], key.split("@")[0], number) for key in first.over}
    body = _unify_bodies([one.body for one in column], number, name)
    return replace(first, start=start, count=count, over=over, body=body)


def _unify_argument(values: list[Any], key: str, number: Resolve, name: Any) -> Any:
    return name(values) if isinstance(values[0], Text) else unify(values, key, number)


def _unify_configs(cls: str, configs: list[dict[str, Any]], number: Resolve) -> dict[str, Any]:
    """Arguments that some leave out have their default there."""
    keys = list(dict.fromkeys(key for config in configs for key in config))
    found: dict[str, Any] = {}
    for key in keys:
        values = [config.get(key, defaults(cls).get(key)) for config in configs]
        if any(key not in config for config in configs):
            if not all(optional_number(cls, key, value) for value in values):
                raise MismatchError(key)
        found[key] = unify(values, key, number)
    return found


def _substitute(body: Body, replaced: Any) -> Body:
    statements: list[Statement] = []
    for one in body.statements:
        if isinstance(one, Make):
            statements.append(replace(one, name=substitute(one.name, replaced), config=substitute(one.config, replaced)))
        elif isinstance(one, Call):
            statements.append(replace(one, args=substitute(one.args, replaced)))
        else:
            inner = _substitute(one.body, replaced)
            over = substitute(one.over, replaced)
            start, count = replaced(one.start), replaced(one.count)
            statements.append(replace(one, body=inner, over=over, start=start, count=count))
    return Body(body.entry, tuple(statements))
