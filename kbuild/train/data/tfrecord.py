"""TFRecord files of tf.train.Example, with the features that the spec declares."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError, TrainingError, suggest
from kbuild.model.backend import import_keras
from kbuild.spec.data import DataSettings
from kbuild.spec.features import IMAGES, Feature
from kbuild.train.data.arrays import PART_BYTES, Raw, Split, Values, row_indices
from kbuild.train.data.images import Broken, decode
from kbuild.train.data.memory import in_memory
from kbuild.train.data.npz import fail
from kbuild.train.data.records import Records, index
from kbuild.train.data.seen import Seen

#: Records that are parsed together at the most.
_BLOCK = 1024


class Unreadable(ValueError):
    """A record that does not hold what it should; the message says what, `at` which of those parsed together."""

    def __init__(self, message: str, at: int = 0):
        super().__init__(message)
        self.at = at


#: Serialized records → feature → values, one row each.
Parse = Callable[[Sequence[bytes]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class FeatureRows:
    """One feature of records, parsed when it is asked for.

    Attributes:
        shape: (records, ...).
    """

    records: Records
    parse: Parse
    feature: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, asked: Any) -> np.ndarray:
        rows = row_indices(asked, len(self))
        if not len(rows):
            return np.empty((0, *self.shape[1:]), self.dtype)
        try:
            return self.parse(self.records.read(rows))[self.feature]
        except Unreadable as error:
            raise TrainingError(
                f"{self.records.place(rows[error.at])}: {error}; it was whole before training"
            ) from error


def read_tfrecord(data: DataSettings, folder: Path) -> Raw:
    """Records of the files, and of those of `test`.

    Raises:
        SpecError: no such file, a broken record (with file and number), features that are not there.
    """
    features: dict[str, Feature] = data.options["features"]
    sides = sides_of(data)
    wanted = wanted_features(sides, features, data)
    kinds = {name: (features[name].shape, value_dtype(features[name])) for name in wanted}
    sources = {"train": data.source} | ({"test": data.options["test"]} if data.options.get("test") else {})
    spans = {part: data.place("test" if part == "test" else "tfrecord") for part in sources}

    def records(part: str) -> Records:
        found = index(files_of(sources[part], folder, spans[part]), spans[part])
        if not len(found):
            fail(f"{_shown(sources[part])}: there are no records", spans[part])
        return found

    parse = parser({name: features[name] for name in wanted})
    return read_parts(_shown(data.source), sides, kinds, parse, spans, records)


def record_batches(path: Path, data: DataSettings, size: int) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Records to predict on: what they are called, and the inputs by layer ("" for the only one). Targets are not read.

    Args:
        path: a file, or a pattern.
        data: of the run.
        size: records of a batch at the most.

    Raises:
        SpecError: no such file, or the first record that is broken or does not hold the inputs.
    """
    records = index(files_of(str(path), Path(), None), None)
    x, features = sides_of(data)["x"], data.options["features"]
    parse = parser({name: features[name] for name in x.values()})
    for start in range(0, len(records), size):
        rows = np.arange(start, min(start + size, len(records)))
        values = _parsed(parse, records, rows, None)
        yield [records.place(row) for row in rows.tolist()], {layer: values[feature] for layer, feature in x.items()}


def _shown(source: Any) -> str:
    return source if isinstance(source, str) else ", ".join(source)


def sides_of(data: DataSettings) -> dict[str, dict[str, str]]:
    """ "x", "y" and perhaps "weight" → layer ("" for the only one) → feature."""
    options = {"x": "x", "y": "y", "weight": "sample_weight"}
    given = {side: data.options[option] for side, option in options.items() if option in data.options}
    return {side: value if isinstance(value, dict) else {"": value} for side, value in given.items()}


def wanted_features(sides: dict[str, dict[str, str]], known: Mapping[str, Any], data: DataSettings) -> list[str]:
    """Names of the features that inputs, targets and weights use.

    Raises:
        SpecError: one that is not among the known ones.
    """
    wanted = list(dict.fromkeys(feature for named in sides.values() for feature in named.values()))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        hint = suggest(unknown[0], known) or f"features: {', '.join(list(known)[:12])}"
        fail(f"there is no feature {unknown[0]!r}", data.place("features"), hint)
    return wanted


def files_of(source: Any, folder: Path, span: Span | None) -> list[Path]:
    """Files, some perhaps as patterns, sorted within a pattern.

    Raises:
        SpecError: one that is missing or a folder, a pattern that fits none.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    hint = "paths are relative to the spec's file" if span else ""
    for one in (source,) if isinstance(source, str) else source:
        path = folder / one
        paths = [path]
        if glob.has_magic(one) and not path.exists():
            paths = [Path(file) for file in sorted(glob.glob(os.path.join(glob.escape(str(folder)), one)))]
            if not paths:
                problems.append(Problem("data", f"no file fits {path}", span, hint))
        for file in paths:
            if file.is_dir():
                problems.append(Problem("data", f"{file} is a directory, not a TFRecord file", span))
            elif not file.exists():
                problems.append(Problem("data", f"there is no file {file}", span, hint))
            else:
                found.append(file)
    if problems:
        raise SpecError(problems)
    return found


def value_dtype(feature: Feature) -> np.dtype:
    """The NumPy type of a feature's values."""
    if feature.decode in IMAGES:
        return np.dtype("uint8")
    return np.dtype(object if feature.dtype == "string" and not feature.decode else feature.decode or feature.dtype)


#: Feature → shape of a row and type.
Kinds = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def read_parts(
    source: str,
    sides: Mapping[str, Mapping[str, str]],
    kinds: Kinds,
    parse: Parse,
    spans: Mapping[str, Span | None],
    records: Callable[[str], Records],
) -> Raw:
    """Training examples and perhaps test examples from records.

    Args:
        sides: of `sides_of`.
        spans: "train" and perhaps "test" → where the spec names it.
        records: those of a part.

    Raises:
        SpecError: what is wrong in all of the parts.
    """
    found, places = {}, {}
    problems: list[Problem] = []
    seen: list[Seen] = []
    for part, span in spans.items():
        try:
            rows = records(part)
            seen.append(rows.files)
            values = read_features(rows, parse, kinds, span)
        except SpecError as error:
            problems += error.problems
            continue
        found[part] = Split(**{side: {k: values[f] for k, f in named.items()} for side, named in sides.items()})
        places[part] = rows.place
    if problems:
        raise SpecError(problems)
    names = {(part, side, k): f for part in found for side, named in sides.items() for k, f in named.items()}
    return Raw(source, found["train"], found.get("test"), names, places=places, files=tuple(seen))


def read_features(records: Records, parse: Parse, kinds: Kinds, span: Span | None) -> dict[str, Values]:
    """Every record parsed once: features that fit in memory as arrays, others as rows.

    Raises:
        SpecError: the first record that does not hold what it should.
    """
    count, total = len(records), int(records.lengths.sum())
    sizes = [
        total if dtype.hasobject else count * int(np.prod(shape, dtype="int64")) * dtype.itemsize
        for shape, dtype in kinds.values()
    ]
    kept = dict(zip(kinds, in_memory(sizes), strict=True))
    held = {name: np.empty((count, *kinds[name][0]), kinds[name][1]) for name in kinds if kept[name]}
    row = max(1, (sum(sizes) + total) // count)
    step = max(1, min(_BLOCK, PART_BYTES // row))
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        values = _parsed(parse, records, rows, span)
        for name, array in held.items():
            array[start : start + len(rows)] = values[name]
    return {
        name: held[name] if name in held else FeatureRows(records, parse, name, (count, *shape), dtype)
        for name, (shape, dtype) in kinds.items()
    }


def _parsed(parse: Parse, records: Records, rows: np.ndarray, span: Span | None) -> dict[str, np.ndarray]:
    try:
        return parse(records.read(rows))
    except Unreadable as error:
        return dict(fail(f"{records.place(rows[error.at])}: {error}", span))


def parser(features: dict[str, Feature]) -> Parse:
    """What parses serialized examples with these features."""
    import_keras()
    import tensorflow as tf

    def stored(feature: Feature) -> Any:
        shape = () if feature.dtype == "string" else feature.shape
        return tf.io.FixedLenFeature(shape, feature.dtype, feature.default)

    described = {name: stored(feature) for name, feature in features.items()}

    def examples(serialized: Sequence[bytes]) -> dict[str, Any]:
        with tf.device("CPU:0"):
            try:
                return dict(tf.io.parse_example(tf.constant(list(serialized), "string"), described))
            except (tf.errors.OpError, UnicodeDecodeError) as error:  # the latter in reporting the former
                if len(serialized) == 1:
                    raise Unreadable(_reason(str(error))) from error
        for at, one in enumerate(serialized):
            try:
                examples([one])
            except Unreadable as error:
                raise Unreadable(str(error), at) from error
        raise Unreadable("it does not hold the features")

    def parse(serialized: Sequence[bytes]) -> dict[str, np.ndarray]:
        parsed = examples(serialized)
        return {name: _decoded(name, feature, parsed[name].numpy()) for name, feature in features.items()}

    return parse


def _decoded(name: str, feature: Feature, values: np.ndarray) -> np.ndarray:
    if not feature.decode:
        return values.reshape(len(values), *feature.shape)
    found = np.empty((len(values), *feature.shape), value_dtype(feature))
    for at, content in enumerate(values):
        try:
            found[at] = _picture(feature, content) if feature.decode in IMAGES else _numbers(feature, content)
        except (Broken, ValueError) as error:
            raise Unreadable(f"{name}: {error}", at) from error
    return found


def _picture(feature: Feature, content: bytes) -> np.ndarray:
    height, width, channels = feature.shape
    color = "grayscale" if channels == 1 else "rgb"
    image = decode(content, color, (height, width) if feature.resize else None)
    if image.shape != feature.shape:
        raise Broken(f"the image is {image.shape[0]}×{image.shape[1]}, not {height}×{width} (`resize: true` resizes)")
    return image


def _numbers(feature: Feature, content: bytes) -> np.ndarray:
    dtype = np.dtype(feature.decode).newbyteorder("<")
    wanted = int(np.prod(feature.shape, dtype="int64")) * dtype.itemsize
    if len(content) != wanted:
        raise Broken(f"{len(content)} bytes; {list(feature.shape)} of {feature.decode} takes {wanted}")
    return np.frombuffer(content, dtype).reshape(feature.shape)


def _reason(text: str) -> str:
    """What TensorFlow's parser found, in plain words."""
    if "Could not parse example" in text or "utf-8" in text:
        return "it is no tf.train.Example"
    for pattern, words in (
        (r"Feature: (\S+) \(data type: \w+\) is required but could not be found", r"it has no feature '\1'"),
        (r"Key: (.+?), Index.*Data type: (\w+) but expected type: (\w+)", r"the feature '\1' holds \2, not \3"),
        (r"Key: (.+?), Index.*Values size: (\d+) but", r"the feature '\1' holds \2 values"),
    ):
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return found.expand(words)
    return text.splitlines()[0][:200]
