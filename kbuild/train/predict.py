"""A finished run's predictions for a file of inputs, in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kbuild.errors import InputError
from kbuild.train.evaluate import call_signature, load_keras, load_saved, read_run
from kbuild.train.tables import open_writer, read_inputs

#: Rows per batch.
BATCH = 256


def predict(
    run_dir: str | Path,
    input_path: str | Path,
    output_path: str | Path | None = None,
    best: bool = False,
    array: str | None = None,
    overwrite: bool = False,
    stdout: TextIO | None = None,
) -> dict[str, Any]:
    """Predict for every row of a file.

    Args:
        input_path: .npz (an array `x`, or the only one, or `array`), .npy, or .csv of numbers, one flattened example a
            line, with or without a header.
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
    classes = [t.output for t in run.targets if t.family in ("sparse", "categorical") and (t.units or 0) > 1]
    plain = [name for name in classes if len(run.plan.layer(name).output_shape or ()) == 2]
    target = Path(output_path) if output_path is not None else None
    with open_writer(target, outputs, plain, stdout or sys.stdout, overwrite) as writer:
        batches = read_inputs(Path(input_path), shapes, array, BATCH)
        first = next(batches, None)  # bad input is told before TensorFlow is loaded
        if first is None:
            raise InputError(f"{input_path} holds no rows")
        function, model = _function(run, best)
        writer.write(function(first))
        for batch in batches:
            writer.write(function(batch))
        rows = writer.rows
    return {"rows": rows, "model": str(model), "output": None if target is None else str(target)}


def _function(run: Any, best: bool) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], Path]:
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
