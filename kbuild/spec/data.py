"""Where a training's arrays come from: the value of `data`, or of `validation` where it is no share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kbuild.errors import Problem, Span, suggest
from kbuild.spec.classes import ClassNames, read_classes
from kbuild.spec.reader import Mapping, Node, Scalar, kind_of

#: kind of data → the options it takes beside its own key. `digits` is shipped with kbuild.
DATA_KINDS: dict[str, tuple[str, ...]] = {
    "digits": (),
    "npz": ("x", "y", "x_test", "y_test"),
    "keras": (),
}

#: Kinds of data that the design names and this version does not read.
LATER_KINDS = ("csv", "tfrecord", "images", "parquet", "tfds")

#: Keras data sets that arrive as arrays.
KERAS_SETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "boston_housing", "california_housing")


@dataclass(frozen=True)
class DataSettings:
    """Where arrays come from.

    Attributes:
        kind: a key of DATA_KINDS.
        source: the file (`npz`) or the data set's name (`digits`, `keras`).
        options: option → array name, or a mapping from layer name to array name.
        span: the place of the value in the spec.
        spans: option → its place.
        classes: output → names of its classes, whatever the kind of data.
    """

    kind: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    spans: dict[str, Span] = field(default_factory=dict)
    classes: ClassNames = field(default_factory=dict)

    def place(self, option: str) -> Span | None:
        """The place of an option, or of the whole setting where it is not written."""
        return self.spans.get(option, self.span)


def wrong(name: str, expected: str, node: Node, problems: list[Problem], hint: str = "") -> None:
    """Report a value of the wrong type or range."""
    problems.append(Problem("wrong-type", f"`{name}` must be {expected}, not {kind_of(node)}", node.span, hint))


def read_data(name: str, node: Node, problems: list[Problem]) -> DataSettings | None:
    """Read the value of `data` (or of `validation`, by `name`); all that is wrong is appended to `problems`."""
    if isinstance(node, Scalar):
        return _named_data(name, node, problems)
    if not isinstance(node, Mapping):
        wrong(name, "`digits` or a mapping such as {npz: FILE}", node, problems)
        return None
    kinds = [key for key, _ in node if key.value in DATA_KINDS or key.value in LATER_KINDS]
    if len(kinds) != 1:
        first = node.entries[0][0] if node.entries else None
        hint = suggest(first.value, DATA_KINDS) if first and not kinds else ""
        said = "two kinds of data" if kinds else "no kind of data"
        message = f"`{name}` names {said}; it takes one of {', '.join(DATA_KINDS)}"
        span = kinds[1].span if kinds else first.span if first else node.span
        problems.append(Problem("wrong-type", message, span, hint))
        return None
    kind = kinds[0].value
    if kind in LATER_KINDS:
        message = f"data of the kind `{kind}` are not part of this version"
        problems.append(Problem("not-yet", message, kinds[0].span, f"this version reads {', '.join(DATA_KINDS)}"))
        return None
    return _data_options(name, kind, node, problems)


def _named_data(name: str, node: Scalar, problems: list[Problem]) -> DataSettings | None:
    value = node.value
    if value == "digits":
        return DataSettings("digits", "digits", span=node.span)
    if isinstance(value, str) and value.endswith(".npz"):
        if name == "validation":
            return DataSettings("npz", value, span=node.span)
        hint = f"write {{npz: {value}}}"
    elif isinstance(value, str) and value in KERAS_SETS:
        hint = f"write {{keras: {value}}}"
    else:
        hint = suggest(value, ["digits"]) if isinstance(value, str) else ""
    wrong(name, "`digits` or a mapping such as {npz: FILE}", node, problems, hint)
    return None


def _data_options(name: str, kind: str, node: Mapping, problems: list[Problem]) -> DataSettings | None:
    before = len(problems)
    source, options, classes = "", {}, {}
    for key, value in node:
        option = key.value
        if option == kind:
            if isinstance(value, Scalar) and isinstance(value.value, str) and value.value:
                source = value.value
            elif kind == "digits" and isinstance(value, Scalar) and value.value is None:
                source = "digits"
            else:
                wrong(kind, "a file's name" if kind == "npz" else "the name of a data set", value, problems)
        elif option == "classes" and name == "data":
            classes = read_classes(value, problems)
        elif option not in DATA_KINDS[kind]:
            known = ", ".join(DATA_KINDS[kind]) or "none"
            hint = suggest(option, DATA_KINDS[kind]) or f"known: {known}"
            problems.append(Problem("unknown-key", f"data of the kind `{kind}` have no {option!r}", key.span, hint))
        else:
            options[option] = _array_names(option, value, problems)
    if kind == "keras" and source and source not in KERAS_SETS:
        hint = suggest(source, KERAS_SETS) or f"known: {', '.join(KERAS_SETS)}"
        value_span = node.get(kind).span  # type: ignore[union-attr]
        problems.append(Problem("unknown-name", f"there is no Keras data set {source!r} of arrays", value_span, hint))
    if len(problems) > before:
        return None
    spans = {key.value: value.span for key, value in node}
    return DataSettings(kind, source, options, node.span, spans, classes)


def _array_names(option: str, node: Node, problems: list[Problem]) -> Any:
    """One array's name, or a mapping from input or output layers to array names."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    if isinstance(node, Mapping) and len(node):
        names = {}
        for key, value in node:
            if isinstance(value, Scalar) and isinstance(value.value, str):
                names[key.value] = value.value
            else:
                wrong(f"{option}.{key.value}", "the name of an array", value, problems)
        return names
    wrong(option, "the name of an array, or a mapping from layers to arrays", node, problems)
    return None
