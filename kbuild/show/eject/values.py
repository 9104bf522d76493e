"""Values in ejected code: constants, names put together from parts, numbers that follow a parameter or a loop index.

`unify` compares the same piece of code at several places and leaves a `Hole` wherever they differ; what a hole becomes
(a parameter, a loop index) is for its caller to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class MismatchError(Exception):
    """Two pieces of code differ in more than values."""


@dataclass(frozen=True)
class Var:
    """`scale * name + offset`."""

    name: str
    scale: int = 1
    offset: int = 0

    def __call__(self, values: dict[str, Any]) -> Any:
        """The value where `name` has one."""
        value = values[self.name]
        return value if (self.scale, self.offset) == (1, 0) else self.scale * value + self.offset


@dataclass(frozen=True)
class Text:
    """A name: pieces of text, numbers and variables in a row."""

    parts: tuple[str | int | Var, ...]

    def __call__(self, values: dict[str, Any]) -> str:
        return "".join(str(part(values) if isinstance(part, Var) else part) for part in self.parts)

    def without(self, prefix: str) -> tuple[str | int | Var, ...] | None:
        """The parts behind a prefix that ends where a word ends; None where the name begins otherwise."""
        head = "".join(str(part) for part in self.parts if not isinstance(part, Var)) if self.plain else ""
        if self.plain:
            if head != prefix and not head.startswith(f"{prefix}_"):
                return None
            return text(head[len(prefix) :]).parts
        first = self.parts[0]
        start = "".join(str(part) for part in self._before_var())
        if not isinstance(first, str) or not start.startswith(f"{prefix}_"):
            return None
        return (*text(start[len(prefix) :]).parts, *self.parts[len(self._before_var()) :])

    @property
    def plain(self) -> bool:
        return not any(isinstance(part, Var) for part in self.parts)

    def _before_var(self) -> tuple[str | int | Var, ...]:
        at = next((at for at, part in enumerate(self.parts) if isinstance(part, Var)), len(self.parts))
        return self.parts[:at]


def text(value: str) -> Text:
    """A name as text and numbers in turn; a number with a leading zero stays text.

    >>> text("conv2_block1").parts
    ('conv', 2, '_block', 1)
    """
    parts: list[str | int | Var] = []
    for piece in re.findall(r"[0-9]+|[^0-9]+", value):
        number = piece[0] in "0123456789" and (piece == "0" or piece[0] != "0") and len(piece) < 10
        if not number and parts and isinstance(parts[-1], str):
            parts[-1] += piece
        else:
            parts.append(int(piece) if number else piece)
    return Text(tuple(parts))


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: What stands for a number that differs: `(what it is the value of, one value for each place)`.
Resolve = Callable[[str, tuple[Any, ...]], Any]


def unify(values: Sequence[Any], key: str, resolve: Resolve) -> Any:
    """One value for several places: itself where all agree, and what `resolve` makes of the numbers where not.

    Raises:
        MismatchError: they differ in more than numbers.
    """
    first = values[0]
    if all(type(value) is type(first) and value == first for value in values[1:]):
        return first
    if all(is_number(value) or isinstance(value, Var) for value in values):
        return resolve(key, tuple(values))
    if any(type(value) is not type(first) for value in values):
        raise MismatchError(key)
    if isinstance(first, dict):
        if any(list(value) != list(first) for value in values):
            raise MismatchError(key)
        return {name: unify([value[name] for value in values], name, resolve) for name in first}
    if isinstance(first, list):
        if any(len(value) != len(first) for value in values):
            raise MismatchError(key)
        return [unify(items, key, resolve) for items in zip(*values, strict=True)]
    raise MismatchError(key)


def substitute(value: Any, replaced: Callable[[Any], Any]) -> Any:
    """The value with `replaced` applied to every leaf."""
    if isinstance(value, dict):
        return {name: substitute(item, replaced) for name, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, replaced) for item in value]
    if isinstance(value, Text):
        return Text(tuple(replaced(part) for part in value.parts))
    return replaced(value)


def evaluate(value: Any, values: dict[str, Any]) -> Any:
    """The value with every variable replaced by what it stands for; names become strings."""
    if isinstance(value, Text):
        return value(values)
    return substitute(value, lambda leaf: leaf(values) if isinstance(leaf, Var) else leaf)
