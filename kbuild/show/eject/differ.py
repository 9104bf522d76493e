"""The same code at several places → one piece of code, and what differs between the places.

Between the uses of a block, numbers become parameters of a function; between the rounds of a repeat, numbers in names
follow the index and other numbers are listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from kbuild.show.eject.names import free_name, identifier
from kbuild.show.eject.program import Body, Call, Make, Statement, defaults, optional_number
from kbuild.show.eject.values import MismatchError, Resolve, Text, Var, is_number, substitute, unify

#: What becomes of the names of one layer at several places.
Naming = Callable[[Sequence[Text]], Text]


@dataclass(frozen=True)
class Hole:
    """A number that differs from use to use; `settle` makes it a parameter."""

    key: str
    values: tuple[Any, ...]


class Parameters:
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
            name = free_name(identifier(re.sub(r"(_[0-9]+)+$", "", hole.key), "value"), taken)
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


class Rounds:
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
        name = free_name(f"{key}@{self.index}", set(self.over))
        self.over[name] = listed
        return Var(name)

    def _indexed(self, values: tuple[Any, ...]) -> Var:
        step = values[1] - values[0]
        if any(after - before != step for before, after in pairwise(values)):
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


def unify_bodies(bodies: Sequence[Body], number: Resolve, name: Naming) -> Body:
    columns = zip(*(body.statements for body in bodies), strict=True)
    return Body(bodies[0].entry, tuple(_unify_statements(list(column), number, name) for column in columns))


def _unify_statements(column: list[Any], number: Resolve, name: Naming) -> Statement:
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
    body = unify_bodies([one.body for one in column], number, name)
    return replace(first, start=start, count=count, over=over, body=body)


def _unify_argument(values: list[Any], key: str, number: Resolve, name: Naming) -> Any:
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


def substitute_body(body: Body, replaced: Any) -> Body:
    statements: list[Statement] = []
    for one in body.statements:
        if isinstance(one, Make):
            statements.append(
                replace(one, name=substitute(one.name, replaced), config=substitute(one.config, replaced))
            )
        elif isinstance(one, Call):
            statements.append(replace(one, args=substitute(one.args, replaced)))
        else:
            inner = substitute_body(one.body, replaced)
            over = substitute(one.over, replaced)
            start, count = replaced(one.start), replaced(one.count)
            statements.append(replace(one, body=inner, over=over, start=start, count=count))
    return Body(body.entry, tuple(statements))
