"""Reads the keys that decide the letters of a unit: those of `ordering`, and those beside a layer.

Every reader takes a node, who says so (`because`) and the list for problems, and gives the `Settings` of that one key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kbuild import policy as policies
from kbuild.catalog.layers import lookup
from kbuild.errors import Problem, suggest
from kbuild.spec.names import valid_name
from kbuild.spec.objects import read_activation, read_object
from kbuild.spec.reader import Mapping, Node, Scalar, kind_of
from kbuild.spec.settings import NOTHING, Setting, Settings, origin, policy_defaults

Problems = list[Problem]


def read_ordering(node: Node | None, problems: Problems) -> Settings:
    """The settings of `ordering`: a policy's name, an order, or a mapping; policy defaults lie under them."""
    if node is None:
        chosen = policies.BY_NAME[policies.DEFAULT_POLICY]
        defaults = policy_defaults(chosen, chosen.order)
        return replace(defaults, order=Setting(chosen.order, f"default policy {chosen.name}"))
    if isinstance(node, Scalar):
        return _policy_or_order(node, problems)
    if not isinstance(node, Mapping):
        _wrong("ordering", node, "a policy's name, an order such as W-N-A-D, or a mapping", problems)
        return read_ordering(None, [])
    base = read_ordering(None, [])
    choice = [entry for entry in node if entry[0].value in ("policy", "order")]
    if choice:
        value = choice[0][1]
        if isinstance(value, Scalar):
            base = _policy_or_order(value, problems, choice[0][0].value)
        else:
            key = choice[0][0].value
            _wrong(key, value, "a policy's name" if key == "policy" else "an order such as W-N-A-D", problems)
    for key, _ in choice[1:]:
        problems.append(Problem("unknown-key", "`policy` and `order` exclude each other", key.span, "keep one"))
    return base.overlay(read_keys(node, ORDERING_KEYS, "ordering", problems, ignore=("policy", "order")))


def _policy_or_order(node: Scalar, problems: Problems, only: str = "ordering") -> Settings:
    if not isinstance(node.value, str):
        _wrong(only, node, "a policy's name, or an order such as W-N-A-D", problems)
        return read_ordering(None, [])
    try:
        policy, order = policies.find(node.value)
    except policies.OrderError as error:
        problems.append(Problem(error.code, error.message, node.span, error.hint))
        return read_ordering(None, [])
    if only == "order" and policy is not None:
        problems.append(
            Problem("bad-order", f"{node.value!r} is a policy, not an order", node.span, f"write policy: {node.value}")
        )
    if only == "policy" and policy is None:
        problems.append(
            Problem(
                "unknown-policy", f"{node.value!r} is an order, not a policy", node.span, f"write order: {node.value}"
            )
        )
    where = origin(node.span)
    label = where if where.startswith("--") else f"ordering, {where}"
    named = f"policy {policy.name}, {where}" if policy else label
    name = Setting(policy.name, named, node.span) if policy else None
    return policy_defaults(policy, order).overlay(Settings(policy=name, order=Setting(order, named, node.span)))


def read_keys(
    node: Mapping,
    table: dict[str, Callable[[Node, str, Problems], Settings]],
    where: str,
    problems: Problems,
    ignore: tuple[str, ...] = (),
) -> Settings:
    """Read the entries of a mapping by a table of keys; unknown keys are problems."""
    found = NOTHING
    for key, value in node:
        if key.value in ignore:
            continue
        reader = table.get(key.value)
        if reader is None:
            hint = suggest(key.value, (*table, *ignore)) or f"keys here: {', '.join((*ignore, *table))}"
            message = f"`{where.split()[-1]}` has no key {key.value[:60]!r}"
            problems.append(Problem("unknown-key", message, key.span, hint))
            continue
        at = origin(value.span)
        found = found.overlay(reader(value, at if at.startswith("--") else f"{where}, {at}", problems))
    return found


def _wrong(key: str, node: Node, expected: str, problems: Problems, hint: str = "") -> Settings:
    problems.append(Problem("wrong-type", f"`{key}` takes {expected}, not {kind_of(node)}", node.span, hint))
    return NOTHING


def _scalar(node: Node) -> Any:
    return node.value if isinstance(node, Scalar) else node


def read_order(node: Node, because: str, problems: Problems) -> Settings:
    """`order: W-A-D` beside a unit."""
    value = _scalar(node)
    if not isinstance(value, str):
        return _wrong("order", node, "an order such as W-A-D", problems)
    try:
        return Settings(order=Setting(policies.parse_order(value), because, node.span))
    except policies.OrderError as error:
        message, hint = error.message, error.hint
        if policy := policies.named(value):
            message, hint = f"{value!r} is a policy, not an order", f"write {policy.order}"
        problems.append(Problem("bad-order", message, node.span, hint))
        return NOTHING


def read_norm(node: Node, because: str, problems: Problems) -> Settings:
    """`norm: false`, a class name, `{LayerNormalization: {...}}`, or `{sync: true}`: BN over all replicas together."""
    value = _scalar(node)
    if isinstance(node, Mapping) and len(node) == 1 and node.entries[0][0].value == "sync":
        sync = _scalar(node.entries[0][1])
        if not isinstance(sync, bool):
            return _wrong("sync", node.entries[0][1], "true or false", problems)
        config = {"synchronized": True} if sync else {}
        return Settings(norm=Setting({"class_name": "BatchNormalization", "config": config}, because, node.span))
    if value is False:
        return Settings(norm=Setting(False, because, node.span))
    if value is True:
        return Settings(norm=Setting({"class_name": "BatchNormalization", "config": {}}, because, node.span))
    layer = _role_layer("norm", node, "N", "false, or a normalization layer such as LayerNormalization", problems)
    return Settings(norm=Setting(layer, because, node.span)) if layer else NOTHING


def read_pool(node: Node, because: str, problems: Problems) -> Settings:
    """`pool: {MaxPooling2D: 2}` beside a unit."""
    layer = _role_layer("pool", node, "P", "a pooling layer such as {MaxPooling2D: 2}", problems)
    return Settings(pool=Setting(layer, because, node.span)) if layer else NOTHING


def _role_layer(key: str, node: Node, role: str, expected: str, problems: Problems) -> dict[str, Any] | None:
    name = node.entries[0][0].value if isinstance(node, Mapping) and len(node) == 1 else _scalar(node)
    if not isinstance(name, str):
        _wrong(key, node, expected, problems)
        return None
    facts = lookup(name)
    if facts is not None and facts.role != role:
        problems.append(Problem("wrong-type", f"`{key}` takes {expected}; {name} is none", node.span))
        return None
    return read_object("layer", node, problems)


def read_dropout(node: Node, because: str, problems: Problems) -> Settings:
    """`dropout: 0.3`, `dropout: false`, or `{rate: 0.3, kind: spatial}`."""
    if isinstance(node, Mapping):
        return read_keys(node, {"rate": _read_rate, "kind": _read_kind}, because.split(",")[0] + " dropout", problems)
    return _read_rate(node, because, problems)


def _read_rate(node: Node, because: str, problems: Problems) -> Settings:
    value = _scalar(node)
    if value is False:
        value = 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        return _wrong("dropout", node, "a rate: a number from 0 up to but excluding 1", problems)
    return Settings(rate=Setting(value, because, node.span))


def _choice(name: str, choices: tuple[str, ...]) -> Callable[[Node, str, Problems], Settings]:
    def read(node: Node, because: str, problems: Problems) -> Settings:
        value = _scalar(node)
        if value in choices:
            return Settings(**{name: Setting(value, because, node.span)})
        hint = suggest(value, choices) if isinstance(value, str) else ""
        return _wrong(name.replace("_", " "), node, f"one of {', '.join(choices)}", problems, hint)

    return read


_read_kind = _choice("kind", policies.DROPOUT_KINDS)


def _read_where(node: Node, because: str, problems: Problems) -> Settings:
    if not isinstance(node, Mapping):
        return _wrong("where", node, "a mapping such as {dropout: last}", problems)
    table = {"norm": _choice("where_norm", policies.WHERE), "dropout": _choice("where_dropout", policies.WHERE)}
    return read_keys(node, table, "ordering where", problems)


def _read_activation(node: Node, because: str, problems: Problems) -> Settings:
    value = read_activation(node, problems)
    return Settings(activation=Setting(value, because, node.span)) if value is not None else NOTHING


def _edge(name: str) -> Callable[[Node, str, Problems], Settings]:
    def read(node: Node, because: str, problems: Problems) -> Settings:
        value = _scalar(node)
        if value in ("auto", "keep"):
            return Settings(**{name: Setting(value, because, node.span)})
        if not isinstance(value, str) or set(value.upper()) - {*policies.LETTERS, "-"}:
            hint = suggest(value, ("auto", "keep")) if isinstance(value, str) else ""
            return _wrong(name, node, "auto, keep, or an order such as W-A", problems, hint)
        found = read_order(node, because, problems)
        return replace(NOTHING, **{name: found.order}) if found.order else NOTHING

    return read


def _read_fused(node: Node, because: str, problems: Problems) -> Settings:
    value = _scalar(node)
    if not isinstance(value, bool):
        return _wrong("fused", node, "true or false", problems)
    return Settings(fused=Setting(value, because, node.span))


def _read_names(node: Node, because: str, problems: Problems) -> Settings:
    """`names: {N: bn1, A: relu1}` beside a unit: names of its letters that do not follow the rule."""
    expected = "names of the unit's letters, such as {N: bn1, A: relu1}"
    if not isinstance(node, Mapping):
        return _wrong("names", node, expected, problems)
    found: dict[str, str] = {}
    for key, value in node:
        if key.value not in policies.LETTERS or key.value == "W":
            hint = "W has the unit's own `name`" if key.value == "W" else "letters are N, A, D and P"
            problems.append(Problem("unknown-key", f"`names` has no letter {key.value[:60]!r}", key.span, hint))
        elif valid_name(value, problems):
            found[key.value] = _scalar(value)
    return Settings(names=Setting(found, because, node.span))


def _read_closing(node: Node, because: str, problems: Problems) -> Settings:
    value = _scalar(node)
    if value in ("auto", "none"):
        return Settings(closing=Setting(value, because, node.span))
    letters = tuple(value.replace("-", "")) if isinstance(value, str) else ()
    if not letters or set(letters) - set("NA") or len(set(letters)) < len(letters):
        return _wrong("closing", node, "auto, none, or the letters N and A in their order, such as N-A", problems)
    return Settings(closing=Setting(letters, because, node.span))


ORDERING_KEYS: dict[str, Callable[[Node, str, Problems], Settings]] = {
    "activation": _read_activation,
    "norm": read_norm,
    "dropout": read_dropout,
    "where": _read_where,
    "first": _edge("first"),
    "head": _edge("head"),
    "closing": _read_closing,
    "residual": _choice("residual", ("after_merge", "in_branch")),
    "fused": _read_fused,
}

#: The keys beside a layer that say how the policy treats its unit.
UNIT_KEYS: dict[str, Callable[[Node, str, Problems], Settings]] = {
    "order": read_order,
    "norm": read_norm,
    "dropout": read_dropout,
    "pool": read_pool,
    "role": _choice("role", ("head", "trunk")),
    "fused": _read_fused,
    "names": _read_names,
}
