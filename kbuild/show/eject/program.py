"""The code to eject, as data: layers made, functions called, loops; and what it stands for, layer by layer.

A value is known by a number: the position of the layer that yields it. Inside a body these numbers are those of the
first place the body was made from.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kbuild.catalog.layers import complete
from kbuild.show.eject.values import Text, Var, evaluate, is_number, text


@dataclass(frozen=True)
class Make:
    """One layer made and called on its inputs; `config` without what has Keras' default."""

    cls: str
    name: Text
    config: dict[str, Any]
    inputs: tuple[int, ...]
    out: int


@dataclass(frozen=True)
class Body:
    """Statements with one way in and one way out; `entry` is None for a whole model."""

    entry: int | None
    statements: tuple[Statement, ...]

    @property
    def out(self) -> int:
        return self.statements[-1].out


@dataclass(frozen=True, eq=False)
class Function:
    """A block. `params` maps a parameter to its default, or to None; `label` is its name in the code's own words."""

    name: str
    block: str
    params: dict[str, Any]
    body: Body


@dataclass(frozen=True)
class Call:
    """A function called on one input."""

    function: Function
    args: dict[str, Any]
    inputs: tuple[int, ...]
    out: int


@dataclass(frozen=True)
class Loop:
    """`body` run `count` times; `index` counts from `start`, `over` maps a variable to its value in each round."""

    index: str
    start: Any
    count: Any
    over: dict[str, list[Any]]
    body: Body
    inputs: tuple[int, ...]
    out: int


Statement = Make | Call | Loop


@dataclass(frozen=True)
class Program:
    """A whole model: functions, inner ones first, then the body; inputs, outputs and statements of layers."""

    functions: tuple[Function, ...]
    body: Body
    outputs: tuple[int, ...]


@dataclass
class Layers:
    """What a program makes: name → (class, config, names of inputs), in order."""

    made: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = field(default_factory=list)

    def run(self, body: Body, entry: str | None, values: dict[str, Any]) -> str:
        """Make the layers of a body; returns the name of the last."""
        names: dict[int, str] = {} if body.entry is None or entry is None else {body.entry: entry}
        for statement in body.statements:
            names[statement.out] = self._statement(statement, names, values)
        self.names = names
        return names[body.out]

    def _statement(self, statement: Statement, names: dict[int, str], values: dict[str, Any]) -> str:
        if isinstance(statement, Make):
            name = statement.name(values)
            inputs = tuple(names[source] for source in statement.inputs)
            self.made.append((name, statement.cls, evaluate(statement.config, values), inputs))
            return name
        source = names[statement.inputs[0]]
        if isinstance(statement, Call):
            given = {name: evaluate(value, values) for name, value in statement.args.items()}
            return self.run(statement.function.body, source, {**statement.function.params, **given})
        start, count = evaluate(statement.start, values), evaluate(statement.count, values)
        over = evaluate(statement.over, values)
        for at in range(count):
            row = {name: items[at] for name, items in over.items()}
            source = self.run(statement.body, source, {**values, **row, statement.index: start + at})
        return source


def usual(cls: str, config: dict[str, Any]) -> dict[str, Any]:
    """The config without arguments that have Keras' default, lists of one number as that number.

    >>> usual("Conv2D", {"filters": 8, "strides": 1, "use_bias": True})
    {'filters': 8}
    """
    return {key: value for key, value in config.items() if key not in (d := defaults(cls)) or not same(value, d[key])}


def same(value: Any, default: Any) -> bool:
    """Whether a value is the default: a bool is no number here."""
    return type(value) is type(default) and bool(value == default)


@cache
def defaults(cls: str) -> dict[str, Any]:
    """Keras' defaults of a class's arguments; `[1, 1]` is 1."""
    return {key: _scalar(value) for key, value in complete(cls, {}).items()}


def optional_number(cls: str, key: str, value: Any) -> bool:
    """Whether an argument is a number that Keras has a default for: code may pass it or leave it out."""
    return is_number(defaults(cls).get(key)) and (is_number(value) or isinstance(value, Var))


def _scalar(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value and all(same(one, value[0]) for one in value):
        return value[0] if is_number(value[0]) else value
    return value


def shape_key(body: Body) -> Hashable:
    """What two bodies share if they differ in numbers and names at most."""
    places = {} if body.entry is None else {body.entry: -1}
    keys = []
    for at, statement in enumerate(body.statements):
        inputs = tuple(places[source] for source in statement.inputs)
        places[statement.out] = at
        keys.append((inputs, _statement_key(statement)))
    return tuple(keys)


def _statement_key(statement: Statement) -> Hashable:
    if isinstance(statement, Make):
        kept = {k: v for k, v in statement.config.items() if not optional_number(statement.cls, k, v)}
        return statement.cls, _value_key(kept)
    if isinstance(statement, Call):
        return id(statement.function), tuple(statement.args)
    return "loop", tuple(statement.over), shape_key(statement.body)


def _value_key(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple((key, _value_key(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(_value_key, value))
    return "number" if is_number(value) or isinstance(value, Var) else (type(value).__name__, value)


def loops_within(body: Body) -> Iterator[Loop]:
    """Every loop of a body, the inner ones too."""
    for statement in body.statements:
        if isinstance(statement, Loop):
            yield statement
            yield from loops_within(statement.body)


def plain_make(cls: str, name: str, config: dict[str, Any], inputs: tuple[int, ...], out: int) -> Make:
    """A layer as the plan has it."""
    return Make(cls, text(name), usual(cls, config), inputs, out)
