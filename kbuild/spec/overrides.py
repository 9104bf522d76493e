"""`--ordering` and `--set a.b=c`, applied to the tree before it is parsed.

An override is YAML like the spec's own, with the option as its source, so that errors in it point at the option.

>>> from kbuild.spec.reader import plain, read_text
>>> tree = read_text("vars: {width: 32}\\nordering: W-N-A-D", "demo.yaml")
>>> plain(apply_overrides(tree, "W-A-D-N", ["vars.width=64", "ordering.dropout.rate=0.5"], []))
{'vars': {'width': 64}, 'ordering': {'order': 'W-A-D-N', 'dropout': {'rate': 0.5}}}
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kbuild import policy as policies
from kbuild.errors import Problem, Source, Span, SpecError
from kbuild.spec.reader import LIMITS, Items, Mapping, Node, Scalar, kind_of, read_text


def apply_overrides(tree: Node, ordering: str | None, settings: Iterable[str], problems: list[Problem]) -> Node:
    """The tree with `--ordering` and every `--set` applied, in that order; problems where one cannot be."""
    if ordering is not None and isinstance(tree, Mapping):
        node = _value(ordering, Source("--ordering", ordering), problems)
        if node is not None:
            tree = _put(tree, "ordering", _order_only(tree.get("ordering"), node), node.span)
    for text in settings if isinstance(tree, Mapping) else ():
        tree = _set(tree, text, problems)
    return tree


def _value(text: str, source: Source, problems: list[Problem], before: str = "") -> Node | None:
    if not text.strip():
        return Scalar("" if source.name == "--ordering" else None, Span(source, 1, 1 + len(before)))
    try:
        return read_text(text, source.name, before)
    except SpecError as error:
        problems.extend(error.problems)
        return None


def _order_only(old: Node | None, new: Node) -> Node:
    """`new` in place of the old policy or order; everything else that `ordering` says stays."""
    if not isinstance(new, Scalar):
        return new
    rest = (
        tuple(entry for entry in old if entry[0].value not in ("policy", "order")) if isinstance(old, Mapping) else ()
    )
    policy = policies.named(new.value)
    if policy is None and not (isinstance(new.value, str) and policies.looks_like_order(new.value)):
        return new
    key = Scalar("policy" if policy else "order", new.span)
    return Mapping(((key, new), *rest), new.span) if rest else new


def _set(tree: Node, text: str, problems: list[Problem]) -> Node:
    path, equals, value = text.partition("=")
    source = Source(f"--set {text}" if len(text) <= 80 else f"--set {text[:77]}...", text)
    if not equals or not path.strip():
        message = "--set takes KEY.KEY=VALUE, for example --set train.epochs=3"
        problems.append(Problem("override", message, Span(source, 1, 1, len(text))))
        return tree
    span = Span(source, 1, 1, len(path))
    steps = path.strip().split(".")
    if len(steps) > LIMITS["depth"]:
        problems.append(Problem("limit", f"a path of more steps than the limit depth ({LIMITS['depth']})", span))
        return tree
    node = _value(value, source, problems, f"{path}=")
    if node is None:
        return tree
    declared = tree.get("vars") if isinstance(tree, Mapping) else None
    if steps[0] == "vars" and len(steps) == 2 and isinstance(declared, Mapping) and declared.get(steps[1]) is None:
        # A new var is read by nothing; one that is nearly a declared one is a slip.
        near = difflib.get_close_matches(steps[1], [key.value for key, _ in declared], n=1, cutoff=0.75)
        if near:
            hint = f"did you mean 'vars.{near[0]}'?"
            problems.append(Problem("override", f"the spec has no var {steps[1]!r}", span, hint))
            return tree
    return _place(tree, steps, node, span, problems, "")


def _place(tree: Node, path: list[str], value: Node, span: Span, problems: list[Problem], done: str) -> Node:
    step, rest = path[0], path[1:]
    tree = _widen(tree, done, step)
    if isinstance(tree, Mapping):
        below = tree.get(step)
        if not rest:
            return _put(tree, step, value, span)
        if below is None or (isinstance(below, Scalar) and below.value is None):
            below = Mapping((), span)
        return _put(tree, step, _place(below, rest, value, span, problems, _join(done, step)), span)
    if isinstance(tree, Items) and step.isdecimal() and int(step) < len(tree.items):
        at = int(step)
        new = value if not rest else _place(tree.items[at], rest, value, span, problems, _join(done, step))
        return Items((*tree.items[:at], new, *tree.items[at + 1 :]), tree.span)
    if isinstance(tree, Items):
        message = f"`{done}` is a list of {len(tree.items)}; {step!r} is no index of it (they count from 0)"
    else:
        message = f"`{done}` is {kind_of(tree)}; there is no {step!r} in it"
    problems.append(Problem("override", message, span))
    return tree


def _widen(node: Node, path: str, step: str) -> Node:
    """The long form of the two scalars that have one: `ordering` and `dropout`, or a layer's name alone."""
    if not isinstance(node, Scalar) or node.value is None:
        return node
    if path == "ordering":
        key = "policy" if policies.named(node.value) else "order"
    elif path.split(".")[-1] == "dropout" and step in ("rate", "kind"):
        key = "rate"
    else:
        return node
    return Mapping(((Scalar(key, node.span), node),), node.span)


def _put(mapping: Mapping, key: str, value: Node, span: Span) -> Mapping:
    entries = tuple((name, value if name.value == key else old) for name, old in mapping)
    if mapping.get(key) is None:
        entries = (*entries, (Scalar(key, span), value))
    return Mapping(entries, mapping.span)


def _join(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step
