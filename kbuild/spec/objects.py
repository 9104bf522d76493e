"""A node of the spec → the arguments of a Keras class, checked and written as Keras serializes them.

Wherever Keras takes an object, a spec writes a name, or one key with the arguments below it:

>>> from kbuild.spec.reader import read_text
>>> problems = []
>>> read_object("optimizer", read_text("Adam: {learning_rate: 0.01}", "demo.yaml"), problems)
{'class_name': 'Adam', 'config': {'learning_rate': 0.01}}
>>> read_object("regularizer", read_text("L2: 0.0001", "demo.yaml"), problems)
{'class_name': 'L2', 'config': {'l2': 0.0001}}
>>> read_layer_args("Dense", read_text("{units: 0, bais: 1}", "demo.yaml"), problems) is None
True
>>> for problem in problems:
...     print(problem.code, problem.message)
unknown-argument Dense has no argument 'bais'
wrong-type 'units' of Dense must be a positive integer, not the number 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.arguments import LARGEST, check_argument, object_kind
from kbuild.catalog.layers import FORBIDDEN, layer_names, lookup
from kbuild.errors import Problem, Span, listing, nearest, plural, suggest
from kbuild.spec.names import meant
from kbuild.spec.reader import Items, Mapping, Node, Scalar, core_value, kind_of, plain
from kbuild.spec.unknown import METRIC_WORDS, unknown_layer, unknown_name

#: Kinds whose bare names stay strings: Keras resolves them itself (and `accuracy` by the loss and the targets).
_STRINGS = {"initializer", "regularizer", "constraint", "metric"}

#: Names that Keras' `get` does not make an object of, though the classes have defaults for all arguments.
_NOT_AS_STRING = {"constant", "Constant", "l1_l2"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a layer.

    Attributes:
        values: argument → plain data; Keras objects as ``{"class_name": ..., "config": {...}}``.
        spans: argument → the place of its value in the spec.
    """

    values: dict[str, Any]
    spans: dict[str, Span]


@dataclass(frozen=True, slots=True)
class _Target:
    """The class whose arguments are read: a key of `facts.SECTIONS` and a canonical name."""

    kind: str
    name: str
    span: Span


def read_arguments(cls: str, node: Node | None, problems: list[Problem], name_span: Span) -> Arguments | None:
    """Read what stands behind a layer's class name.

    Args:
        cls: class name or alias, known to the catalog.
        node: a mapping, a list of positional arguments, one scalar, or nothing (None or null).
        problems: what is wrong is appended here.
        name_span: the place of the class name, where missing arguments are reported.

    Returns:
        The arguments as written, without defaults; None if anything is wrong. A ``use_bias: auto`` of a weight layer
        is left out.
    """
    layer = lookup(cls)
    if layer is None:
        problems.append(unknown_layer(cls, name_span))
        return None
    before = len(problems)
    arguments = _read(_Target("layer", layer.name, name_span), node, problems)
    if layer.role == "W" and arguments.values.get("use_bias") == "auto":
        del arguments.values["use_bias"]
    return arguments if len(problems) == before else None


def read_layer_args(
    cls: str, node: Node | None, problems: list[Problem], name_span: Span | None = None
) -> dict[str, Any] | None:
    """The values of `read_arguments` alone."""
    span = name_span or (node.span if node is not None else None)
    assert span is not None, "either a node or a span"
    arguments = read_arguments(cls, node, problems, span)
    return None if arguments is None else arguments.values


def read_object(kind: str, node: Node, problems: list[Problem]) -> Any:
    """Read a Keras object.

    Args:
        kind: initializer, regularizer, constraint, optimizer, schedule, loss, metric, callback or layer.
        node: a name, or a mapping of one name to its arguments.
        problems: what is wrong is appended here.

    Returns:
        ``{"class_name": canonical name, "config": {...}}``; the string itself for a bare name of an initializer,
        regularizer, constraint or metric; None if anything is wrong.
    """
    found = _name_and_arguments(kind, node, problems)
    if found is None:
        return None
    name, arguments = found
    word = name.value
    if kind == "metric" and arguments is None and str(word).lower() in METRIC_WORDS:
        return word
    if kind == "layer" and (word in FORBIDDEN or lookup(word) is None):
        problems.append(unknown_layer(word, name.span))
        return None
    signature = facts.signature(kind, word)
    if signature is None:
        problems.append(unknown_name(kind, word, name.span))
        return None
    if arguments is None and word in _NOT_AS_STRING:
        return {"class_name": signature.name, "config": dict(signature.optional)}
    if kind in _STRINGS and arguments is None and not signature.required:
        return word
    before = len(problems)
    read = _read(_Target(kind, signature.name, name.span), arguments, problems)
    return {"class_name": signature.name, "config": read.values} if len(problems) == before else None


def _name_and_arguments(kind: str, node: Node, problems: list[Problem]) -> tuple[Scalar, Node | None] | None:
    """A name alone, ``{name: arguments}``, or Keras' own ``{class_name: name, config: arguments}``."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node, None
    if isinstance(node, Mapping):
        serialized = node.get("class_name")
        if isinstance(serialized, Scalar) and isinstance(serialized.value, str):
            return serialized, node.get("config")
        if len(node) == 1:
            name, arguments = node.entries[0]
            empty = isinstance(arguments, Scalar) and arguments.value is None
            return name, None if empty else arguments
    article = "an" if kind[0] in "aio" else "a"
    hint = "write a name, or one name with its arguments: {Name: {argument: value}}"
    problems.append(
        Problem("wrong-type", f"expected {article} {kind}, not {_kind_of(node)}", node.span, hint),
    )
    return None


def _kind_of(node: Node) -> str:
    return f"a mapping of {len(node)} keys" if isinstance(node, Mapping) else kind_of(node)


# Arguments


def _read(target: _Target, node: Node | None, problems: list[Problem]) -> Arguments:
    """The arguments of any class; problems leave their argument out."""
    signature = facts.signature(target.kind, target.name)
    assert signature is not None
    arguments = Arguments({}, {})
    written = {}
    pairs = _pairs(target, signature, node, problems)
    for name, value in pairs or ():
        if name.value not in signature.arguments:
            problems.append(_unknown_argument(target, signature, name))
            continue
        written[name.value] = value
    for argument, value in written.items():
        before = len(problems)
        data = _value(target, argument, value, problems)
        if len(problems) == before:
            arguments.values[argument] = data
            arguments.spans[argument] = value.span
    missing = [name for name in signature.required if name not in written]
    if missing and pairs is not None and not (isinstance(node, Mapping) and _explained(signature, node, missing)):
        message = f"{target.name} needs {' and '.join(map(repr, missing))}"
        example = ", ".join(f"{name}: ..." for name in missing)
        problems.append(Problem("missing-key", message, target.span, f"{target.name}: {{{example}}}"))
    return arguments


def _explained(signature: facts.Signature, node: Mapping, missing: list[str]) -> bool:
    """Whether a key that was reported already is what is missing: misspelled, a merge key, or a layer in its place."""
    if meant(node, signature.arguments, missing) or node.get("<<") is not None:
        return True
    return "layer" in missing and any(_nested(signature, key.value) for key, _ in node)


def _nested(signature: facts.Signature, word: str) -> str | None:
    """The layer class that a word means which stands directly in a wrapper such as Bidirectional."""
    inside = "layer" in signature.arguments and word not in signature.arguments
    return (word if lookup(word) is not None else nearest(word, layer_names())) if inside else None


def _pairs(
    target: _Target, signature: facts.Signature, node: Node | None, problems: list[Problem]
) -> list[tuple[Scalar, Node]] | None:
    """Arguments by name, whichever way they are written; None for more positional ones than there are."""
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return []
    if isinstance(node, Mapping):
        return list(node)
    values = node.items if isinstance(node, Items) else (node,)
    names = signature.positional
    if len(values) <= len(names):
        return [(Scalar(name, value.span), value) for name, value in zip(names, values, strict=False)]
    takes = f"takes {plural(len(names), 'positional argument')}" if names else "takes no argument"
    hint = ""
    if isinstance(node, Items) and names and check_argument(target.name, names[0], plain(node), target.kind) is None:
        hint = f"a list holds positional arguments; an argument that is a list: {{{names[0]}: [...]}}"
    problems.append(Problem("unknown-argument", f"{target.name} {takes}", values[len(names)].span, hint))
    return None


def _unknown_argument(target: _Target, signature: facts.Signature, name: Scalar) -> Problem:
    word = name.value
    hint = suggest(word, signature.arguments)
    if target.kind == "layer" and word == "name":
        hint = "write `name:` beside the layer"
    elif target.kind == "layer" and word in _beside(target.name):
        hint = f"`{word}:` stands beside the layer, not among its arguments"
    elif word == "<<":
        hint = "YAML 1.2 has no merge keys; name the shared values under `vars`"
    elif nested := _nested(signature, word):
        hint = f"write {{layer: {{{nested}: ...}}}}"
    elif word == "use_bias" and "bias_axes" in signature.arguments:
        hint = f"{target.name} has a bias where `bias_axes` names axes"
    elif not hint:
        hint = f"it takes {listing(signature.arguments)}" if signature.arguments else "it takes no arguments"
    return Problem("unknown-argument", f"{target.name} has no argument {word[:60]!r}", name.span, hint)


def _beside(cls: str) -> tuple[str, ...]:
    """What stands beside a layer of that class."""
    layer = lookup(cls)
    unit = ("order", "norm", "dropout", "pool", "role") if layer is not None and layer.role == "W" else ()
    return (*unit, "when", "from")


def _value(target: _Target, argument: str, node: Node, problems: list[Problem]) -> Any:
    """One argument as data; a problem where its value does not suit it."""
    kind = object_kind(target.name, argument)
    if argument == "learning_rate" and isinstance(node, Mapping):
        return read_object("schedule", node, problems)
    if kind is not None:
        if isinstance(node, Scalar) and node.value is None and argument not in _required(target):
            return None
        if kind == "activation":
            return _activation(target, argument, node, problems)
        if kind == "layers":
            return _layers(target, argument, node, problems)
        return read_object(kind, node, problems)
    data = plain(node)
    if argument == "vocabulary" and isinstance(data, str):
        hint = "a spec reads no files of its own; write the words as a list"
        problems.append(Problem("wrong-type", f"'vocabulary' of {target.name} must be a list", node.span, hint))
        return None
    expected = check_argument(target.name, argument, data, target.kind)
    if expected is not None:
        message = f"{argument!r} of {target.name} must be {expected}, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span, _as_meant(target, argument, node)))
    return data


def _as_meant(target: _Target, argument: str, node: Node) -> str:
    """A hint where the value is right but for the way it is written."""
    if not isinstance(node, Scalar):
        return ""
    value = node.value
    if isinstance(value, int) and abs(value) >= LARGEST:
        return "numbers stay below 2**63"
    if isinstance(value, float) and node.span.source.line(node.span.line)[node.span.column - 1 :].startswith("="):
        return "`//` and int() give whole numbers"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and node.quoted and value:
        if value.startswith("="):
            return f"in quotes it is a string; write {value[:60]}"
        try:
            value = core_value(value)
        except ValueError:
            return ""
    elif value in ("no", "off", "No", "Off", "yes", "on", "Yes", "On"):
        value = value.lower() in ("yes", "on")
    if value is node.value or check_argument(target.name, argument, value, target.kind) is not None:
        return ""
    return f"write {str(value).lower() if isinstance(value, bool) else value}"


def _required(target: _Target) -> tuple[str, ...]:
    signature = facts.signature(target.kind, target.name)
    return signature.required if signature else ()


def _layers(target: _Target, argument: str, node: Node, problems: list[Problem]) -> list[Any]:
    if not isinstance(node, Items) or not node.items:
        message = f"{argument!r} of {target.name} must be a list of layers, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span))
        return []
    return [read_object("layer", item, problems) for item in node.items]


def _activation(target: _Target, argument: str, node: Node, problems: list[Problem]) -> Any:
    """A function's name; in a weight layer also an activation layer, for the letter A is a layer of its own."""
    layer = lookup(target.name) if target.kind == "layer" else None
    lifted = layer is not None and layer.role == "W" and argument == "activation"
    if isinstance(node, Scalar) and isinstance(node.value, str):
        if node.value in facts.activations():
            return node.value
        if not (lifted and _activation_layer(node.value)):
            layers = [name for name in layer_names() if _activation_layer(name)] if lifted else []
            message = f"there is no activation {node.value[:60]!r}"
            hint = suggest(node.value, facts.activations()) or suggest(node.value, layers)
            problems.append(Problem("unknown-name", message, node.span, hint))
            return None
        return read_object("layer", node, problems)
    if isinstance(node, Mapping) and lifted:
        found = _name_and_arguments("layer", node, problems)
        if found is None:
            return None
        if lookup(found[0].value) is not None and not _activation_layer(found[0].value):
            message = f"{found[0].value} is no activation layer"
            hint = "one of " + ", ".join(name for name in layer_names() if _activation_layer(name))
            problems.append(Problem("wrong-type", message, found[0].span, hint))
            return None
        return read_object("layer", node, problems)
    message = f"{argument!r} of {target.name} must be the name of an activation, not {kind_of(node)}"
    problems.append(Problem("wrong-type", message, node.span))
    return None


def _activation_layer(name: str) -> bool:
    facts_of_layer = lookup(name)
    return facts_of_layer is not None and facts_of_layer.role == "A" and facts_of_layer.name != "Activation"


def read_activation(node: Node, problems: list[Problem]) -> Any:
    """The activation of a weight layer: a name, an activation layer's class, or such a layer with its arguments."""
    return _activation(_Target("layer", "Dense", node.span), "activation", node, problems)
