"""A finished run's predictions for inputs in files, in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kbuild.errors import InputError
from kbuild.train.classes import FILE, Labels, read_run_classes
from kbuild.train.data.image_folder import SUFFIXES, image_batches
from kbuild.train.data.sources import data_at
from kbuild.train.data.table import table_batches
from kbuild.train.data.tfrecord import record_batches
from kbuild.train.evaluate import Run, call_signature, load_keras, load_saved, read_run
from kbuild.train.tables import INPUT_SUFFIXES, check_finite, fitted, open_writer, read_inputs

#: Suffix of a file → its kind, where its columns go by their names.
TABLES = {".csv": "csv", ".parquet": "parquet"}

#: Rows per batch.
BATCH = 256

#: What rows are called, where they have a place of their own, and the inputs by layer.
Batch = tuple[Sequence[str], dict[str, np.ndarray]]


def predict(
    run_dir: str | Path,
    input_path: str | Path,
    output_path: str | Path | None = None,
    best: bool = False,
    array: str | None = None,
    overwrite: bool = False,
    stdout: TextIO | None = None,
) -> dict[str, Any]:
    """Predict for every row of a file, every image or every record.

    Args:
        input_path: .npz (an array `x`, or the only one, or `array`), .npy, or .csv of numbers, one flattened example a
            line, with or without a header. A run on a table, or one of several inputs, takes a .csv or .parquet of raw
            rows, whose columns go by their names; one on a folder of images an image or a folder of them; one on
            TFRecord files such a file, or a pattern.
        output_path: .npy, .csv or .jsonl by its suffix; None for JSON lines on stdout.
        best: use `checkpoints/best.keras` instead of the exported SavedModel.
        overwrite: replace an existing output file.

    Returns:
        {"rows", "model", "output"}.

    Raises:
        InputError: no such run or file, rows that do not fit, an output that exists.
    """
    run = read_run(run_dir)
    shapes = {}
    for layer in run.plan.inputs:
        if layer.output_shape is None:
            raise InputError(f"the plan of the run says nothing about the shape of the input {layer.name!r}")
        shapes[layer.name] = layer.output_shape[1:]
    outputs = list(run.plan.outputs)
    told = _labels(run)
    target = Path(output_path) if output_path is not None else None
    with open_writer(target, outputs, told, stdout or sys.stdout, overwrite) as writer:
        batches = _batches(run, Path(input_path), shapes, array)
        first = next(batches, None)  # bad input is told before TensorFlow is loaded
        if first is None:
            raise InputError(f"{input_path} holds no rows")
        function, model = _function(run, best)
        for places, batch in chain([first], batches):
            writer.write(function(batch), places)
        rows = writer.rows
    return {"rows": rows, "model": str(model), "output": None if target is None else str(target)}


def _batches(run: Run, path: Path, shapes: dict[str, Any], array: str | None) -> Iterator[Batch]:
    own, suffix = run.settings.data, path.suffix.lower()
    kind, is_image = TABLES.get(suffix), path.is_dir() or (suffix in SUFFIXES and path.exists())
    if own.kind == "image_folder" and is_image:
        ((name, shape),) = shapes.items()
        return _fitted(path, shapes, ((files, {name: x}) for files, x in image_batches(path, own, shape, BATCH)))
    if own.kind == "tfrecord" and suffix not in (*INPUT_SUFFIXES, *TABLES):
        return _fitted(path, shapes, record_batches(path, own, BATCH))
    if is_image:
        raise InputError(
            f"{path.name}: images are predicted on by runs on an `image_folder`, which know size and colors; "
            f"the data of this run are `{own.kind}`"
        )
    if kind is None or (kind == "csv" and own.kind not in TABLES.values() and len(shapes) == 1):
        return (((), batch) for batch in read_inputs(path, shapes, array, BATCH))
    return (((), batch) for batch in table_batches(path, data_at(path, own), run.plan, run.targets, BATCH))


def _fitted(path: Path, shapes: dict[str, Any], batches: Iterator[Batch]) -> Iterator[Batch]:
    """Batches under the names of the inputs, each fitted and checked."""
    start = 0
    for places, batch in batches:
        named = {name or next(iter(shapes)): values for name, values in batch.items()}
        found = {name: fitted(values, shapes[name], name, path) for name, values in named.items()}
        check_finite(found, path, start)
        start += len(places)
        yield places, found


def _labels(run: Run) -> dict[str, Labels]:
    """How the class of a row is told, for the outputs of shape (batch, units) that give one."""
    names, found = read_run_classes(run.files.path), {}
    for target in run.targets:
        known, units = names.get(target.output, ()), target.units or 0
        if len(target.shape or ()) != 2:
            continue
        if known and len(known) != max(units, 2):
            raise InputError(f"{run.files.path / FILE} names {len(known)} classes of {target.output}, not {units}")
        if target.family in ("sparse", "categorical") and units > 1:
            found[target.output] = Labels(known)
        elif target.family == "binary" and units == 1 and known:
            found[target.output] = Labels(known, 0.0 if target.logits else 0.5)
    return found


def _function(run: Run, best: bool) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], Path]:
    if not best:
        path = run.files.saved_model
        signature = load_saved(path)

        def served(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: _plain(value) for name, value in call_signature(signature, batch).items()}

        return served, path
    path = run.files.checkpoints / "best.keras"
    model = load_keras(path)
    import tensorflow as tf

    call = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)

    def direct(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = [tf.cast(tf.constant(batch[t.name]), t.dtype) for t in model.inputs]
        results = call(tensors[0] if len(tensors) == 1 else tensors)
        results = results if isinstance(results, (list, tuple)) else [results]
        return {name: _plain(value) for name, value in zip(run.plan.outputs, results, strict=False)}

    return direct, path


def _plain(tensor: Any) -> np.ndarray:
    """A NumPy array in a type that files can hold."""
    array = np.asarray(tensor)
    return array.astype("float32") if array.dtype.kind not in "biuf" or array.dtype.itemsize == 2 else array
