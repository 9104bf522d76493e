"""Values that options of data take: how each is read, with all that is wrong reported, and its JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kbuild.errors import Problem, suggest
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of

#: Name of the option, its node, problems to append to → the value, or None where it is wrong.
Reader = Callable[[str, Node, list[Problem]], Any]


@dataclass(frozen=True)
class Value:
    """What an option takes.

    Attributes:
        read: gives the value as plain data, or appends a problem.
        schema: its JSON Schema.
    """

    read: Reader
    schema: dict[str, Any]


def wrong(name: str, expected: str, node: Node, problems: list[Problem], hint: str = "") -> None:
    """Report a value of the wrong type or range."""
    problems.append(Problem("wrong-type", f"`{name}` must be {expected}, not {kind_of(node)}", node.span, hint))


def is_text(node: Node) -> bool:
    """Whether a node is a string that is not empty."""
    return isinstance(node, Scalar) and isinstance(node.value, str) and bool(node.value)


def text(expected: str) -> Value:
    """One string: a path or a name. `expected` completes "must be"."""

    def read(name: str, node: Node, problems: list[Problem]) -> str | None:
        if is_text(node):
            return str(node.value)  # type: ignore[union-attr]
        wrong(name, expected, node, problems)
        return None

    return Value(read, {"type": "string"})


def texts(expected: str, single: bool = True) -> Value:
    """One or several different strings, as a tuple; `single` lets one stand without a list."""

    def read(name: str, node: Node, problems: list[Problem]) -> tuple[str, ...] | None:
        if single and is_text(node):
            return (str(node.value),)  # type: ignore[union-attr]
        if isinstance(node, Items) and node.items and all(is_text(item) for item in node.items):
            found = tuple(str(item.value) for item in node.items)  # type: ignore[union-attr]
            if len(set(found)) == len(found):
                return found
            problems.append(Problem("wrong-type", f"`{name}` names one twice", node.span))
            return None
        wrong(name, expected, node, problems)
        return None

    several = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
    return Value(read, {"anyOf": [{"type": "string"}, several]} if single else several)


def word(*choices: str) -> Value:
    """One of some words."""

    def read(name: str, node: Node, problems: list[Problem]) -> str | None:
        value = node.value if isinstance(node, Scalar) else None
        if value in choices:
            return str(value)
        hint = suggest(value, choices) if isinstance(value, str) else ""
        wrong(name, f"one of {', '.join(choices)}", node, problems, hint)
        return None

    return Value(read, {"enum": list(choices)})


def _is_size(node: Node) -> bool:
    return isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool)


def number() -> Value:
    """A finite number."""

    def read(name: str, node: Node, problems: list[Problem]) -> float | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        wrong(name, "a number", node, problems)
        return None

    return Value(read, {"type": "number"})


def letter() -> Value:
    """One character that is no quote and no line's end."""

    def read(name: str, node: Node, problems: list[Problem]) -> str | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, str) and len(value) == 1 and len(value.encode()) == 1 and value not in '"\r\n':
            return value
        wrong(name, 'one character such as ";" or "\\t"', node, problems)
        return None

    return Value(read, {"type": "string", "minLength": 1, "maxLength": 1})


def sizes(count: int | None, expected: str, limit: int = 2**31 - 1) -> Value:
    """A list of `count` sizes (any number for None) from 1 to `limit`, as a tuple."""

    def read(name: str, node: Node, problems: list[Problem]) -> tuple[int, ...] | None:
        items = node.items if isinstance(node, Items) else None
        if items is not None and (count is None or len(items) == count) and all(map(_is_size, items)):
            found = tuple(int(item.value) for item in items)  # type: ignore[union-attr]
            if all(1 <= size <= limit for size in found):
                return found
        wrong(name, expected, node, problems)
        return None

    number = {"type": "integer", "minimum": 1, "maximum": limit}
    bounds = {} if count is None else {"minItems": count, "maxItems": count}
    return Value(read, {"type": "array", "items": number, **bounds})


def named_texts(what: str, expected: str) -> Value:
    """One string, or a mapping from names to strings. `what` is what each string names."""

    def read(name: str, node: Node, problems: list[Problem]) -> Any:
        if is_text(node):
            return node.value  # type: ignore[union-attr]
        if isinstance(node, Mapping) and len(node):
            found = {}
            for key, value in node:
                if is_text(value):
                    found[key.value] = value.value  # type: ignore[union-attr]
                else:
                    wrong(f"{name}.{key.value}", what, value, problems)
            return found
        wrong(name, expected, node, problems)
        return None

    mapping = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}
    return Value(read, {"anyOf": [{"type": "string"}, mapping]})


def _nothing(name: str, node: Node, problems: list[Problem]) -> str | None:
    if isinstance(node, Scalar) and node.value in (None, name):
        return name
    wrong(name, "empty", node, problems)
    return None


#: The kind alone says everything: `{digits: }`.
NOTHING = Value(_nothing, {"anyOf": [{"type": "null"}, {"type": "string"}]})

#: An array or a feature by name, or one for each input or output.
ARRAYS = named_texts("the name of an array", "the name of an array, or a mapping from layers to arrays")
