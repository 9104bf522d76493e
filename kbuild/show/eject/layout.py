"""Python expressions and how they are broken into lines: the way the usual formatters do, at 120 columns.

>>> call = Brackets("f", [str(number) * 9 for number in range(14)])
>>> print("\\n".join(lines("x = ", call, "", 0)))
x = f(
    000000000,
    111111111,
    222222222,
    333333333,
    444444444,
    555555555,
    666666666,
    777777777,
    888888888,
    999999999,
    101010101010101010,
    111111111111111111,
    121212121212121212,
    131313131313131313,
)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 120


@dataclass(frozen=True)
class Brackets:
    """`head(items)`, or with other brackets; the head may be a call itself."""

    head: Expr
    items: Sequence[Item]
    opening: str = "("
    closing: str = ")"


@dataclass(frozen=True)
class Keyword:
    """`key=value` in a call, `key: value` in a dict."""

    key: str
    value: Expr
    equals: str = "="


Expr = str | Brackets
Item = str | Brackets | Keyword


def flat(item: Item) -> str:
    """On one line."""
    if isinstance(item, str):
        return item
    if isinstance(item, Keyword):
        return f"{item.key}{item.equals}{flat(item.value)}"
    comma = "," if item.opening == "(" and item.head == "" and len(item.items) == 1 else ""
    return f"{flat(item.head)}{item.opening}{', '.join(map(flat, item.items))}{comma}{item.closing}"


def lines(before: str, item: Item, after: str, indent: int) -> list[str]:
    """An expression between two pieces of text, broken where it is too long."""
    if isinstance(item, Keyword):
        return lines(f"{before}{item.key}{item.equals}", item.value, after, indent)
    whole = f"{before}{flat(item)}{after}"
    if indent + len(whole) <= WIDTH or isinstance(item, str) or not item.items:
        return [" " * indent + whole]
    start = f"{before}{flat(item.head)}{item.opening}"
    if isinstance(item.head, Brackets) and indent + len(start) > WIDTH:
        tail = f"{item.opening}{', '.join(map(flat, item.items))}{item.closing}{after}"
        if indent + 1 + len(tail) <= WIDTH:
            return lines(before, item.head, tail, indent)
        first = lines(before, item.head, item.opening, indent)
        return [*first, *_inside(item, indent + 4), " " * indent + item.closing + after]
    return [" " * indent + start, *_inside(item, indent + 4), " " * indent + item.closing + after]


def _inside(item: Brackets, indent: int) -> list[str]:
    together = ", ".join(map(flat, item.items))
    if indent + len(together) <= WIDTH and not (item.head == "" and len(item.items) == 1 and item.opening == "("):
        return [" " * indent + together]
    if len(item.items) == 1:
        return lines("", item.items[0], "," if item.head == "" and item.opening == "(" else "", indent)
    return [line for one in item.items for line in lines("", one, ",", indent)]


def sequence(items: Sequence[Item], opening: str = "(") -> Brackets:
    """A tuple, list or dict."""
    return Brackets("", items, opening, {"(": ")", "[": "]", "{": "}"}[opening])


def literal(value: Any) -> Expr:
    """Plain data as Python: numbers, strings, lists as tuples, mappings.

    >>> flat(literal({"a": [1, 2.5], "b": None}))
    '{"a": (1, 2.5), "b": None}'
    """
    if isinstance(value, dict):
        return sequence([Keyword(quote(str(key)), literal(item), ": ") for key, item in value.items()], "{")
    if isinstance(value, (list, tuple)):
        texts = any(isinstance(one, (str, dict)) for one in value)
        return sequence([literal(one) for one in value], "[" if texts else "(")
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)


def quote(text: str) -> str:
    """A string literal, in double quotes unless that needs more escapes.

    >>> print(quote("it's"), quote('say "x"'))
    "it's" 'say "x"'
    """
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown


def f_string(parts: Sequence[tuple[str, bool]]) -> str:
    """A string of pieces: text, and expressions (True beside them); a single expression stands alone.

    >>> f_string([("conv", False), ("i + 1", True), ("_bn", False)])
    'f"conv{i + 1}_bn"'
    """
    if all(not expression for _, expression in parts):
        return quote("".join(text for text, _ in parts))
    inside = (f"{{{text}}}" if expression else "".join(map(_escaped, text)) for text, expression in parts)
    return 'f"' + "".join(inside) + '"'


def _escaped(letter: str) -> str:
    if letter in "{}":
        return letter * 2
    if letter == '"':
        return '\\"'
    return repr(letter)[1:-1] if letter != "'" else letter
