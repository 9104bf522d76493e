"""Data sets of TensorFlow Datasets by name, as they were prepared on this machine. Nothing is fetched or built here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError
from kbuild.model.backend import import_keras
from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw
from kbuild.train.data.npz import fail
from kbuild.train.data.records import Records, index
from kbuild.train.data.tfrecord import Parse, Unreadable, read_parts, sides_of, wanted_features

#: `mnist`, `glue/cola`, `mnist:3.0.1`.
_NAME = re.compile(r"(?P<set>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")

#: Feature connectors of this package decode examples; others would be code of whoever wrote the files.
_OWN = "tensorflow_datasets."


def read_tfds(data: DataSettings, folder: Path) -> Raw:
    """Training examples and, where the data set has a split `test` or one is named, test examples.

    Raises:
        SpecError: the package is missing, the data set is not there, splits or features it does not have, damage.
    """
    info = _info(data, folder)
    splits = {"train": data.options.get("train", "train")}
    if "test" in data.options or "test" in info.splits:
        splits["test"] = data.options.get("test", "test")
    return _read(data, info, splits)


def read_single_tfds(data: DataSettings, folder: Path) -> Raw:
    """The split that `train` names, or else `test` where there is one."""
    info = _info(data, folder)
    return _read(data, info, {"train": data.options.get("train", "test" if "test" in info.splits else "train")})


def _info(data: DataSettings, folder: Path) -> Any:
    """The DatasetInfo of a prepared data set."""
    span = data.place("tfds")
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        message = f"the data set {data.source} needs the extra `tfds`, and {error.name} is missing"
        fail(message, span, "pip install 'kbuild[tfds]'")
    place = _place(data, folder, span)
    _check_classes(place / "features.json", span)
    with _told(f"cannot read the data set in {place}", span):
        info = tfds.builder_from_directory(place).info
        if info.file_format.value != "tfrecord":
            message = f"the data set in {place} is stored as {info.file_format.value}"
            fail(message, span, "prepare it as tfrecord, the format that is used if none is named")
        return info


def _place(data: DataSettings, folder: Path, span: Span | None) -> Path:
    """The folder of the newest prepared version, or of the one that is named."""
    named = _NAME.fullmatch(data.source)
    if named is None:
        hint = "for example mnist, glue/cola or mnist:3.0.1"
        return Path(fail(f"{data.source!r} is no name of a data set of TensorFlow Datasets", span, hint))
    own = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = folder / data.options["data_dir"] if "data_dir" in data.options else Path(own).expanduser()
    place = root / named["set"] / (named["config"] or "")
    versions = _versions(place, named["version"])
    configs = _configs(place) if not named["config"] and not versions else {}
    if len(configs) == 1:
        versions = _versions(next(iter(configs.values())), named["version"])
    elif configs:
        name = f"{named['set']}/{next(iter(configs))}"
        fail(f"{data.source} has several configurations in {root}: {', '.join(configs)}", span, f"write {name}")
    if not versions:
        command = f"python -c \"import tensorflow_datasets as tfds; tfds.load('{data.source}', data_dir='{root}')\""
        fail(f"the data set {data.source} is not prepared in {root}", span, f"prepare it once: {command}")
    return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))


def _versions(place: Path, wanted: str | None) -> list[Path]:
    names = os.listdir(place) if place.is_dir() else []
    found = [name for name in names if re.fullmatch(r"\d+\.\d+\.\d+", name) and wanted in (None, name)]
    return [place / name for name in found if (place / name / "dataset_info.json").is_file()]


def _configs(place: Path) -> dict[str, Path]:
    names = sorted(os.listdir(place)) if place.is_dir() else []
    return {name: place / name for name in names if _versions(place / name, None)}


def _check_classes(path: Path, span: Span | None) -> None:
    """Files of a data set name Python classes, which are imported: only those of the package itself are."""

    def classes(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("pythonClassName", "type") and isinstance(value, str):
                    yield value
                yield from classes(value)
        elif isinstance(node, list):
            for value in node:
                yield from classes(value)

    with _told(f"cannot read {path}", span):
        foreign = [name for name in classes(json.loads(path.read_text("utf-8"))) if "." in name]
        foreign = [name for name in foreign if not name.startswith(_OWN)]
        if foreign:
            fail(f"{path} decodes examples with {foreign[0]}, code that is no part of TensorFlow Datasets", span)


@contextmanager
def _told(message: str, span: Span | None) -> Iterator[None]:
    """Whatever the package raises, as a problem."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        fail(f"{message}: {reason}", span)


def _read(data: DataSettings, info: Any, splits: dict[str, str]) -> Raw:
    span = data.place("tfds")
    sides = _sides(data, info)
    known = info.features.get_tensor_info()
    wanted = wanted_features(sides, known, data)
    kinds = {name: _kind(name, known[name], data) for name in wanted}

    def records(part: str) -> Records:
        name = splits[part]
        with _told(f"the data set {data.source} has no split {name!r}", data.place(part)):
            instructions = info.splits[name].file_instructions
        return _records(instructions, span)

    raw = read_parts(data.source, sides, kinds, _parser(info.features, kinds), dict.fromkeys(splits, span), records)
    classes = {layer: _class_names(info.features[feature]) for layer, feature in sides["y"].items()}
    known_classes = {layer: given for layer, given in classes.items() if given}
    return replace(raw, classes=known_classes)


def _sides(data: DataSettings, info: Any) -> dict[str, dict[str, str]]:
    """Which features are inputs, targets and weights: as written, or as the data set itself supervises."""
    sides = sides_of(data)
    keys = info.supervised_keys or ()
    for side, key in zip(("x", "y"), keys, strict=False):
        if side not in sides and isinstance(key, str):
            sides[side] = {"": key}
    missing = [side for side in ("x", "y") if side not in sides]
    if missing:
        features = ", ".join(info.features)
        message = f"the data set {data.source} does not say what is learnt from what: write {' and '.join(missing)}"
        fail(message, data.place("tfds"), f"its features: {features}")
    return sides


def _kind(name: str, described: Any, data: DataSettings) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a feature's rows."""
    span = data.place("tfds")
    shape: Any = getattr(described, "shape", None)
    if shape is None:
        fail(f"the feature {name!r} of {data.source} is several values, not one array a row", span)
    size = data.options.get("size")
    if size is not None and len(shape) == 3:
        shape = (*size, shape[2])
    if None in shape:
        hint = "write `size: [height, width]` to resize images" if len(shape) == 3 else ""
        fail(f"the rows of the feature {name!r} of {data.source} differ in shape, {list(shape)}", span, hint)
    import_keras()
    import tensorflow as tf

    return tuple(shape), np.dtype(tf.as_dtype(described.dtype).as_numpy_dtype)


def _class_names(feature: Any) -> tuple[str, ...]:
    """Names of classes, where they are more than their numbers."""
    names = tuple(getattr(feature, "names", None) or ())
    return () if names == tuple(map(str, range(len(names)))) else names


def _records(instructions: Sequence[Any], span: Span | None) -> Records:
    """The records that a split takes of its files."""
    files = list(dict.fromkeys(str(one.filename) for one in instructions))
    every = index([Path(file) for file in files], span)
    problems, rows = [], []
    for one in instructions:
        of_file = np.flatnonzero(every.of == files.index(str(one.filename)))
        if len(of_file) != one.examples_in_shard:
            message = f"{one.filename} has {len(of_file)} records, the data set says {one.examples_in_shard}"
            problems.append(Problem("data", message, span, "prepare the data set again"))
        rows.append(of_file[one.skip : one.skip + one.take])
    if problems:
        raise SpecError(problems)
    taken = every.take(np.concatenate(rows)) if rows else None
    if taken is None or not len(taken):
        fail("the split holds no examples", span)
    assert taken is not None
    return taken


def _parser(features: Any, kinds: dict[str, tuple[tuple[int, ...], np.dtype]]) -> Parse:
    """What decodes serialized examples as the data set describes them."""
    import_keras()
    import tensorflow as tf

    with tf.device("CPU:0"):
        one = tf.function(features.deserialize_example, input_signature=[tf.TensorSpec([], "string")], autograph=False)

    def value(name: str, tensor: Any) -> np.ndarray:
        shape, dtype = kinds[name]
        if dtype == np.uint8 and len(shape) == 3 and tuple(tensor.shape) != shape:
            tensor = tf.cast(tf.clip_by_value(tf.round(tf.image.resize(tensor, shape[:2])), 0, 255), "uint8")
        return np.asarray(tensor.numpy())

    def parse(serialized: Sequence[bytes]) -> dict[str, np.ndarray]:
        found = {name: np.empty((len(serialized), *shape), dtype) for name, (shape, dtype) in kinds.items()}
        with tf.device("CPU:0"):
            for at, content in enumerate(serialized):
                try:
                    values = one(tf.constant(content))
                    for name, array in found.items():
                        array[at] = value(name, values[name])
                except (tf.errors.OpError, UnicodeDecodeError, ValueError) as error:
                    raise Unreadable("it cannot be decoded as the data set describes it", at) from error
        return found

    return parse
