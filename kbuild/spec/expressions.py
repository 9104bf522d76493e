"""Arithmetic after `=`: numbers, names, + - * / // % **, comparisons, min max round int. Nothing else.

Evaluation is simpleeval's, with every node type, operator and function it does not need taken away, and every result
bounded, so that no expression can run code or fill memory.

>>> evaluate("=2*width + i % 2", {"width": 16, "i": 3})
33
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import simpleeval

from kbuild.errors import listing, suggest

#: The largest magnitude a result may have, and the longest expression, by the name the error shows.
LIMITS = {"expression-length": 200, "expression-value": 10**15, "exponent": 64}


class ExpressionError(ValueError):
    """An expression that cannot be evaluated; the message says why, the hint what to do."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint


class _Exceeded(Exception):
    """A limit exceeded somewhere inside an expression, by name."""


def is_expression(value: Any) -> bool:
    """Whether a plain scalar is arithmetic: a string that begins with '='."""
    return isinstance(value, str) and value.startswith("=") and len(value) > 1


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """The value of `text`, which begins with '='.

    An expression that is one name gives that name's value, whatever its type; anything else is arithmetic on numbers.

    Raises:
        ExpressionError: unknown name, something that is not arithmetic, division by zero, a limit exceeded.
    """
    body = text[1:].strip()
    if body in names:
        return names[body]
    if len(body) > LIMITS["expression-length"]:
        raise ExpressionError(f"the expression is longer than {_limit('expression-length')} characters")
    evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=FUNCTIONS, names=dict(names))
    evaluator.nodes = {kind: rule for kind, rule in evaluator.nodes.items() if kind in _NODES}
    try:
        return _bounded(evaluator.eval(body, previously_parsed=_parse(body)))
    except ExpressionError:
        raise
    except SyntaxError:
        hint = (
            "inside { } or [ ] a comma ends the value; write it on a line of its own"
            if body.count("(") > body.count(")")
            else ""
        )
        raise ExpressionError(f"{body!r} is not arithmetic", hint) from None
    except simpleeval.NameNotDefined as error:
        known = f"names here: {listing(sorted(names))}" if names else "`vars` defines names, each from those above it"
        hint = "`i` is the index of `repeat`, inside it" if error.name == "i" else suggest(error.name, names) or known
        raise ExpressionError(f"{error.name!r} is not defined", hint) from None
    except simpleeval.FunctionNotDefined as error:
        raise ExpressionError(f"there is no function {error.func_name!r}", f"functions: {listing(FUNCTIONS)}") from None
    except (simpleeval.InvalidExpression, simpleeval.FeatureNotAvailable, AttributeError, KeyError):
        raise ExpressionError(f"{body!r} is more than arithmetic", f"it takes {_ALLOWED}") from None
    except ZeroDivisionError:
        raise ExpressionError(f"{body!r} divides by zero") from None
    except (TypeError, ValueError):
        raise ExpressionError(f"{body!r} calculates with something that is not a number") from None
    except _Exceeded as error:
        raise ExpressionError(f"{body!r} exceeds {_limit(str(error))}") from None
    except (OverflowError, RecursionError, MemoryError):
        raise ExpressionError(f"{body!r} exceeds {_limit('expression-value')}") from None


def _limit(name: str) -> str:
    return f"the limit {name} of {LIMITS[name]:,}"


@functools.lru_cache(maxsize=4096)
def _parse(body: str) -> ast.AST:
    if "\n" in body:
        raise SyntaxError
    try:
        return ast.parse(body, mode="eval").body
    except (ValueError, MemoryError, RecursionError):
        raise SyntaxError from None


def _bounded(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise TypeError
    if value != value or abs(value) > LIMITS["expression-value"]:
        raise _Exceeded("expression-value")
    return value


def _function(name: str, function: Callable[..., Any], least: int, most: int) -> Callable[..., Any]:
    """`function` of bounded numbers, with a message where there are too few or too many."""
    takes = "1 number" if most == 1 else f"{least} to {most} numbers"

    def call(*numbers: Any) -> Any:
        if not least <= len(numbers) <= most:
            raise ExpressionError(f"{name} takes {takes}, not {len(numbers)}")
        return function(*map(_bounded, numbers))

    return call


def _round(number: Any, digits: Any = None) -> Any:
    """Python's `round`, which for a whole number calculates 10**-digits first."""
    if digits is not None and abs(digits) > LIMITS["exponent"]:
        raise _Exceeded("exponent")
    return round(number, digits)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": _function("min", min, 2, 9),
    "max": _function("max", max, 2, 9),
    "round": _function("round", _round, 1, 2),
    "int": _function("int", int, 1, 1),
}

_ALLOWED = "numbers, names, + - * / // % **, comparisons, and min max round int"


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` on bounded numbers only, so that strings never multiply and no intermediate result explodes."""
    return lambda a, b: _bounded(function(_bounded(a), _bounded(b)))


def _power(base: Any, exponent: Any) -> Any:
    if abs(_bounded(exponent)) > LIMITS["exponent"]:
        raise _Exceeded("exponent")
    return _bounded(_bounded(base) ** exponent)


_OPERATORS: dict[Any, Callable[..., Any]] = {
    ast.Add: _arithmetic(operator.add),
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _power,
    ast.USub: lambda a: -_bounded(a),
    ast.UAdd: lambda a: +_bounded(a),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_NODES = (ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Call, ast.Expr)
