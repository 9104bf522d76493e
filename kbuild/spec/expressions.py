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

#: The largest magnitude a result may have, and the longest expression, by the name the error shows.
LIMITS = {"expression-length": 200, "expression-value": 10**15}

FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "round": round, "int": int}


class ExpressionError(ValueError):
    """An expression that cannot be evaluated; the message says why."""


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
        raise ExpressionError(f"longer than the limit expression-length ({LIMITS['expression-length']} characters)")
    evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=FUNCTIONS, names=dict(names))
    evaluator.nodes = {kind: rule for kind, rule in evaluator.nodes.items() if kind in _NODES}
    try:
        return _bounded(evaluator.eval(body, previously_parsed=_parse(body)))
    except ExpressionError:
        raise
    except SyntaxError:
        raise ExpressionError(f"{body!r} is not arithmetic") from None
    except simpleeval.NameNotDefined as error:
        known = ", ".join(sorted(names)) or "none here"
        raise ExpressionError(f"{error.name!r} is not defined; names: {known}") from None
    except simpleeval.FunctionNotDefined as error:
        raise ExpressionError(f"there is no function {error.func_name!r}; functions: {', '.join(FUNCTIONS)}") from None
    except (simpleeval.InvalidExpression, simpleeval.FeatureNotAvailable):
        raise ExpressionError(f"{body!r} is more than arithmetic") from None
    except ZeroDivisionError:
        raise ExpressionError(f"{body!r} divides by zero") from None
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ExpressionError(f"{body!r} mixes values that have no arithmetic") from None
    except (OverflowError, RecursionError, MemoryError):
        raise ExpressionError(f"{body!r} is too large") from None


@functools.lru_cache(maxsize=4096)
def _parse(body: str) -> ast.AST:
    if "\n" in body:
        raise SyntaxError
    try:
        return ast.parse(body, mode="eval").body
    except (ValueError, MemoryError, RecursionError):
        raise SyntaxError from None


def _bounded(value: Any) -> Any:
    if isinstance(value, complex) or not isinstance(value, (int, float)):
        raise ExpressionError("the result is not a number")
    if value != value or abs(value) > LIMITS["expression-value"]:
        raise ExpressionError(f"the result exceeds the limit expression-value ({LIMITS['expression-value']:.0e})")
    return value


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` on bounded numbers only, so that strings never multiply and no intermediate result explodes."""
    return lambda a, b: _bounded(function(_bounded(a), _bounded(b)))


def _power(base: Any, exponent: Any) -> Any:
    if abs(_bounded(exponent)) > 64:
        raise ExpressionError("the exponent exceeds 64")
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
