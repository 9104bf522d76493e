"""Nodes with `=` arithmetic → nodes with values, places kept."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from typing import Any

from kbuild.errors import Problem, Span
from kbuild.spec.expressions import ExpressionError, evaluate, is_expression
from kbuild.spec.reader import Items, Mapping, Node, Scalar


def resolve(node: Node, names: ReadOnly[str, Any], problems: list[Problem], trail: tuple[Span, ...] = ()) -> Node:
    """The node with every `=` scalar below it replaced by its value; the node itself where there is none."""
    if isinstance(node, Scalar):
        if node.quoted or not is_expression(node.value):
            return node
        try:
            return as_node(evaluate(node.value, names), node.span)
        except ExpressionError as error:
            problems.append(Problem("expression", str(error), node.span, error.hint, trail))
            return Scalar(None, node.span, quoted=True)
    if isinstance(node, Items):
        items = tuple(resolve(item, names, problems, trail) for item in node.items)
        return node if all(a is b for a, b in zip(items, node.items, strict=True)) else Items(items, node.span)
    entries = tuple((key, resolve(value, names, problems, trail)) for key, value in node)
    return (
        node if all(a[1] is b[1] for a, b in zip(entries, node.entries, strict=True)) else Mapping(entries, node.span)
    )


def as_node(value: Any, span: Span) -> Node:
    """Plain data as a node at `span`; nodes stay what they are."""
    if isinstance(value, (Scalar, Items, Mapping)):
        return value
    if isinstance(value, (list, tuple)):
        return Items(tuple(as_node(item, span) for item in value), span)
    if isinstance(value, dict):
        return Mapping(tuple((Scalar(key, span), as_node(item, span)) for key, item in value.items()), span)
    return Scalar(value, span, quoted=isinstance(value, str))
