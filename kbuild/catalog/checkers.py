"""What a value of an argument may be: a test, what it expects in words, and the same as JSON Schema for editors.

>>> POSITIVE.accepts(3), POSITIVE.accepts(True), POSITIVE.schema
(True, False, {'type': 'integer', 'minimum': 1})
>>> (RATE | NULL).expected
'a number from 0 up to but excluding 1 or null'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Predicate = Callable[[Any], bool]
Schema = Mapping[str, Any]

#: Sizes stay below this, so that products of shapes stay printable.
LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Checker:
    """A test and what it expects, in words and as JSON Schema; the schema never refuses what the test accepts."""

    expected: str
    accepts: Predicate
    schema: Schema = field(default_factory=dict)

    def __or__(self, other: Checker) -> Checker:
        either = {"anyOf": [*_choices(self.schema), *_choices(other.schema)]}
        return Checker(f"{self.expected} or {other.expected}", lambda v: self.accepts(v) or other.accepts(v), either)


def _choices(schema: Schema) -> list[Schema]:
    return list(schema["anyOf"]) if set(schema) == {"anyOf"} else [schema]


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _number(value: Any) -> bool:
    return _integer(value) or (isinstance(value, float) and math.isfinite(value))


def integer(expected: str, low: int | None = None, high: int | None = None) -> Checker:
    """A whole number within bounds."""
    bounds = {key: bound for key, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    accepts = lambda value: _integer(value) and (low is None or value >= low) and (high is None or value <= high)  # noqa: E731
    return Checker(expected, accepts, {"type": "integer", **bounds})


def number(expected: str, low: float | None = None, high: float | None = None, open_end: bool = False) -> Checker:
    """A finite number within bounds; with `open_end` the upper one is excluded."""

    def accepts(value: Any) -> bool:
        if not _number(value) or (low is not None and value < low):
            return False
        return high is None or (value < high if open_end else value <= high)

    schema: dict[str, Any] = {"type": "number"}
    if low is not None:
        schema["minimum"] = low
    if high is not None:
        schema["exclusiveMaximum" if open_end else "maximum"] = high
    return Checker(expected, accepts, schema)


def list_of(expected: str, item: Checker, length: int | None = None, empty: bool = True) -> Checker:
    """A list of what `item` accepts, of that length if one is given."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or not (empty or value):
            return False
        return len(value) == (length or len(value)) and all(map(item.accepts, value))

    schema: dict[str, Any] = {"type": "array", "items": item.schema}
    if length is not None:
        schema |= {"minItems": length, "maxItems": length}
    return Checker(expected, accepts, schema)


def words(*choices: Any) -> Checker:
    """One of a few words (or null)."""
    shown = ["null" if choice is None else str(choice) for choice in choices]
    text = " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
    accepts = lambda value: value in choices if isinstance(value, str) or value is None else False  # noqa: E731
    return Checker(text, accepts, {"enum": list(choices)})


def one_or(expected: str, one: Checker, many: Checker) -> Checker:
    """`one` or `many`, in other words than theirs."""
    return Checker(expected, lambda value: one.accepts(value) or many.accepts(value), (one | many).schema)


def sizes(one: Checker, rank: int) -> Checker:
    """`one` or a list of `rank` of them."""
    if rank == 0:
        return one
    return one_or(f"{one.expected} or a list of {rank} of them", one, list_of("", one, rank))


POSITIVE = integer("a positive integer", 1)
NATURAL = integer("an integer from 0 up", 0)
INTEGER = integer("an integer")
NUMBER = number("a number")
NOT_NEGATIVE = number("a number from 0 up", 0)
RATE = number("a number from 0 up to but excluding 1", 0, 1, open_end=True)
SHARE = number("a number from 0 to 1", 0, 1)
BOOLEAN = Checker("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})
STRING = Checker("a string", lambda value: isinstance(value, str), {"type": "string"})
NULL = Checker("null", lambda value: value is None, {"type": "null"})
INTEGERS = list_of("a list of integers", INTEGER)
NUMBERS = list_of("a list of numbers", NUMBER)
AXES = one_or("an integer or a list of them", INTEGER, list_of("", INTEGER, empty=False))
VOCABULARY = list_of("a list of the words", INTEGER | STRING)
PLAIN = Checker("a plain value, not a mapping", lambda value: not isinstance(value, dict), {"not": {"type": "object"}})
UNWRITTEN = Checker("null (arrays and quantization are not part of a spec)", NULL.accepts, NULL.schema)
_FACTOR = number("", -1, 1)
FACTOR = one_or("a number from -1 to 1 or a list of two", _FACTOR, list_of("", _FACTOR, 2))
TWO_NUMBERS = list_of("a list of two numbers", NUMBER, 2)
CONSTANT_OUTPUT = Checker("false (a layer of a spec gives one tensor)", lambda value: value is False, {"const": False})
_DTYPES = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bfloat16", "bool", "string", "mixed_float16", "mixed_bfloat16"),
)
_DTYPE_WORDS = words(*_DTYPES)
DTYPE = Checker("a dtype or a policy such as float32, mixed_bfloat16", _DTYPE_WORDS.accepts, _DTYPE_WORDS.schema) | NULL


def _nested_numbers(value: Any) -> bool:
    """Numbers in lists of any depth, walked without recursion."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif not _number(item):
            return False
    return True


NESTED_NUMBERS = Checker(
    "a number or a (nested) list of numbers", _nested_numbers, {"anyOf": [{"type": "number"}, {"type": "array"}]}
)


def edges(rank: int) -> Checker:
    """Padding and cropping: one number, one for each axis, or (before, after) for each axis."""
    if rank == 1:
        return sizes(NATURAL, 2)
    text = f"an integer from 0 up, a list of {rank} of them, or a list of {rank} pairs (before, after)"
    return one_or(text, NATURAL, list_of("", sizes(NATURAL, 2), rank))
