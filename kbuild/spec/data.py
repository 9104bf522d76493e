"""Where a training's examples come from: the value of `data`, or of `validation` where it is no share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kbuild.errors import Problem, Span, suggest
from kbuild.spec import custom_data
from kbuild.spec.classes import ClassNames, read_classes
from kbuild.spec.data_values import ARRAYS, NOTHING, Value, letter, named_texts, number, sizes, text, texts, word, wrong
from kbuild.spec.features import FEATURES
from kbuild.spec.reader import Mapping, Node, Scalar

#: Keras data sets that arrive as arrays.
KERAS_SETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "boston_housing", "california_housing")


@dataclass(frozen=True)
class DataKind:
    """A kind of data.

    Attributes:
        source: the value of the key that names the kind: a file, a folder, the name of a data set.
        options: what may stand beside it (and beside every kind, `classes`).
        needs: options that must be written.
        example: of the whole value, for hints.
    """

    source: Value
    options: dict[str, Value] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    example: str = ""


_KERAS_SET = Value(text("the name of a data set").read, {"enum": list(KERAS_SETS)})
_NPY = named_texts("a file's name", "a folder of .npy files, or a mapping from names to files")
_NAMED = dict.fromkeys(("x", "y", "x_test", "y_test", "sample_weight", "sample_weight_test"), ARRAYS)
_COLOR = word("rgb", "grayscale")
_SIZE = sizes(2, "the height and width of images, [h, w]", 100_000)
_IMAGES = {"size": _SIZE, "color": _COLOR}
_FILES = texts("a file's name or a list of them; a name may be a pattern such as train-*.tfrecord")
_RECORDS = {"test": _FILES, "features": FEATURES, **dict.fromkeys(("x", "y", "sample_weight"), ARRAYS)}
_SPLIT = text("the name of a split, such as train or train[:80%]")
_TFDS = {"train": _SPLIT, "test": _SPLIT, "data_dir": text("a folder's name"), "size": _SIZE}
_COLUMNS = texts("the name of a column or a list of them")
_TABLE = {"test": text("a file's name"), "x": _COLUMNS, "y": ARRAYS, "sample_weight": ARRAYS, "missing": number()}
_RECORD_EXAMPLE = "{tfrecord: train-*.tfrecord, features: {age: float32, label: int64}, x: age, y: label}"

#: kind of data → what it takes; `kbuild.train.data.sources` reads them. `digits` is shipped with kbuild.
DATA_KINDS: dict[str, DataKind] = {
    "digits": DataKind(NOTHING, example="digits"),
    "npz": DataKind(text("a file's name"), _NAMED, example="{npz: FILE}"),
    "npy": DataKind(_NPY, _NAMED, example="{npy: FOLDER}"),
    "keras": DataKind(_KERAS_SET, example="{keras: mnist}"),
    "image_folder": DataKind(text("a folder's name"), _IMAGES, example="{image_folder: DIR, color: rgb}"),
    "tfrecord": DataKind(_FILES, _RECORDS, ("features", "x", "y"), _RECORD_EXAMPLE),
    "tfds": DataKind(
        text("the name of a data set"),
        {**_TFDS, **dict.fromkeys(("x", "y", "sample_weight"), ARRAYS)},
        example="{tfds: mnist}",
    ),
    "csv": DataKind(
        text("a file's name"),
        {**_TABLE, "delimiter": letter(), "header": _COLUMNS},
        ("y",),
        "{csv: people.csv, y: income}",
    ),
    "parquet": DataKind(text("a file's name"), _TABLE, ("y",), "{parquet: people.parquet, y: income}"),
}

#: Suffix of a file → its kind, where a file's name alone says what to read: `validation: held.npz`.
SUFFIXES = {".npz": "npz", ".tfrecord": "tfrecord", ".csv": "csv", ".parquet": "parquet"}


def kind_named(name: str) -> DataKind | None:
    """The kind of data of that name, kbuild's own or one of an installed package; None where there is none."""
    if name in DATA_KINDS:
        return DATA_KINDS[name]
    found = custom_data.find(name)
    if found is None:
        return None
    return DataKind(found.data.source, dict(found.data.options), found.data.needs, found.data.example)


@dataclass(frozen=True)
class DataSettings:
    """Where examples come from.

    Attributes:
        kind: a key of DATA_KINDS, or the name of a package's kind.
        source: the value of the kind's own key: a path, a name, or what its `Value` reads.
        options: option → its value, as its `Value` reads it.
        span: the place of the value in the spec; None where a command line names the data.
        spans: option → its place.
        classes: output → names of its classes, whatever the kind of data; "" for the only output. A source whose
            labels are names numbers them in this order; for validation data it is that of the training data.
    """

    kind: str
    source: Any
    options: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    spans: dict[str, Span] = field(default_factory=dict)
    classes: ClassNames = field(default_factory=dict)

    def place(self, option: str) -> Span | None:
        """The place of an option, or of the whole setting where it is not written."""
        return self.spans.get(option, self.span)


def read_data(name: str, node: Node, problems: list[Problem]) -> DataSettings | None:
    """Read the value of `data` (or of `validation`, by `name`); all that is wrong is appended to `problems`."""
    if isinstance(node, Scalar):
        return _named_data(name, node, problems)
    if not isinstance(node, Mapping):
        wrong(name, "`digits` or a mapping such as {npz: FILE}", node, problems)
        return None
    kinds = [key for key, _ in node if key.value in DATA_KINDS]
    kinds = kinds or [key for key, _ in node if key.value in custom_data.names()]
    if len(kinds) != 1:
        first = node.entries[0][0] if node.entries else None
        hint = suggest(first.value, (*DATA_KINDS, *custom_data.names())) if first and not kinds else ""
        said = "two kinds of data" if kinds else "no kind of data"
        message = f"`{name}` names {said}; it takes one of {', '.join(DATA_KINDS)}"
        span = kinds[1].span if kinds else first.span if first else node.span
        problems.append(Problem("wrong-type", message, span, hint))
        return None
    return _data_options(name, kinds[0].value, node, problems)


def _named_data(name: str, node: Scalar, problems: list[Problem]) -> DataSettings | None:
    value = node.value
    if value == "digits":
        return DataSettings("digits", "digits", span=node.span)
    kind = next((kind for suffix, kind in SUFFIXES.items() if isinstance(value, str) and value.endswith(suffix)), None)
    if kind is not None:
        if name == "validation":
            return DataSettings(kind, value, span=node.span)
        hint = f"write {{{kind}: {value}}}"
    elif isinstance(value, str) and value in KERAS_SETS:
        hint = f"write {{keras: {value}}}"
    elif isinstance(value, str) and (custom := custom_data.find(value)):
        hint = f"write {custom.data.example}"
    else:
        hint = suggest(value, ["digits"]) if isinstance(value, str) else ""
    wrong(name, "`digits` or a mapping such as {npz: FILE}", node, problems, hint)
    return None


def _data_options(name: str, kind: str, node: Mapping, problems: list[Problem]) -> DataSettings | None:
    before, known = len(problems), kind_named(kind)
    if known is None:
        if refused := custom_data.refusal(kind):
            span = node.key(kind).span  # type: ignore[union-attr]
            problems.append(Problem("plugin", refused.complaint, span, refused.refusal))
        return None
    source: Any = None
    options: dict[str, Any] = {}
    classes: ClassNames = {}
    for key, value in node:
        option = key.value
        if option == kind:
            source = known.source.read(kind, value, problems)
        elif option == "classes" and name == "data":
            classes = read_classes(value, problems)
        elif option in known.options:
            options[option] = known.options[option].read(option, value, problems)
        else:
            hint = suggest(option, known.options) or f"known: {', '.join(known.options) or 'none'}"
            problems.append(Problem("unknown-key", f"data of the kind `{kind}` have no {option!r}", key.span, hint))
    if kind == "keras" and source and source not in KERAS_SETS:
        hint = suggest(source, KERAS_SETS) or f"known: {', '.join(KERAS_SETS)}"
        value_span = node.get(kind).span  # type: ignore[union-attr]
        problems.append(Problem("unknown-name", f"there is no Keras data set {source!r} of arrays", value_span, hint))
    missing = [option for option in known.needs if node.key(option) is None]
    if missing:
        message = f"data of the kind `{kind}` need {', '.join(f'`{option}`' for option in missing)}"
        problems.append(Problem("missing-key", message, node.span, f"for example {known.example}"))
    if len(problems) > before:
        return None
    spans = {key.value: value.span for key, value in node}
    return DataSettings(kind, source, options, node.span, spans, classes)
