"""Trains on `train.csv` of a folder: kbuild, or Keras on arrays or on the pipeline of TensorFlow's guide to CSV."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.tables import CATEGORIES, CLASSES, NUMBERS, SPEC, TARGET
from benchmarks.workers.protocol import BATCH, LEARNING_RATE, Clock, report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer", choices=("kbuild", "arrays", "pipeline"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", help="of kbuild")
    task = parser.parse_args()
    if task.trainer == "kbuild":
        _kbuild(task.folder, task.epochs, task.seed, task.strategy)
    else:
        _keras(task.folder, task.epochs, task.seed, task.trainer == "pipeline")


def _kbuild(folder: Path, epochs: int, seed: int, strategy: str | None) -> None:
    from kbuild.plan.pipeline import compile_spec
    from kbuild.train.result import RunResult
    from kbuild.train.run import train

    path = folder / "table.yaml"
    path.write_text(SPEC, "utf-8")
    spec, plan = compile_spec(path)
    run_dir = folder / "run"
    given = {"epochs": epochs, "seed": seed, "strategy": strategy}
    result = train(spec, plan, **given, run_dir=run_dir, overwrite=True, quiet=True)
    assert isinstance(result, RunResult)
    assert result.images_per_second is not None
    report(rows_per_second=result.images_per_second, accuracy=result.metrics["test"]["accuracy"])


def _keras(folder: Path, epochs: int, seed: int, pipeline: bool) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    clock = Clock()
    x, y = _arrays(folder / "train.csv")
    examples: Any = (x, y)
    if pipeline:
        # https://www.tensorflow.org/tutorials/load_data/csv
        read = tf.data.experimental.make_csv_dataset(
            str(folder / "train.csv"), BATCH, label_name=TARGET, num_epochs=1, shuffle_buffer_size=len(y)
        )
        names = tf.constant(CLASSES)
        numbered = read.map(
            lambda row, label: (
                {name: tf.expand_dims(cells, -1) for name, cells in row.items()},
                tf.argmax(tf.equal(tf.expand_dims(label, -1), names), -1),
            )
        )
        examples = (numbered.prefetch(tf.data.AUTOTUNE),)
    model = _model(keras, tf, x)
    tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.epoch_ended())
    size = {} if pipeline else {"batch_size": BATCH}
    model.fit(*examples, epochs=epochs, verbose=0, callbacks=[tick], **size)
    x_test, y_test = _arrays(folder / "test.csv")
    accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0, return_dict=True)["accuracy"]
    report(rows_per_second=clock.rate(len(y)), accuracy=accuracy)


def _arrays(path: Path) -> tuple[dict[str, Any], Any]:
    """Columns as Keras takes them: numbers (rows, 1), texts as tensors, classes by number."""
    import numpy as np
    import tensorflow as tf
    from pyarrow import csv

    read = csv.read_csv(path)
    found: dict[str, Any] = {name: tf.constant(read[name].to_numpy()[:, None], "float32") for name in NUMBERS}
    found |= {name: tf.constant(read[name].to_numpy()[:, None]) for name in CATEGORIES}
    return found, np.array([CLASSES.index(label) for label in read[TARGET].to_pylist()])


def _model(keras: Any, tf: Any, x: dict[str, Any]) -> Any:
    """The layers of `SPEC`, by hand."""
    layers = keras.layers
    inputs = {name: keras.Input((1,), name=name) for name in NUMBERS}
    inputs |= {name: keras.Input((1,), name=name, dtype="string") for name in CATEGORIES}
    normal = layers.Normalization()
    normal.adapt(tf.concat([x[name] for name in NUMBERS], 1))
    parts = [normal(layers.Concatenate()([inputs[name] for name in NUMBERS]))]
    for name, values in CATEGORIES.items():
        found = layers.StringLookup(output_mode="one_hot", max_tokens=len(values) + 1, pad_to_max_tokens=True)
        found.adapt(x[name])
        parts.append(found(inputs[name]))
    hidden = layers.Concatenate()(parts)
    for units in (128, 64):
        hidden = layers.Dense(units, use_bias=False)(hidden)
        hidden = layers.BatchNormalization()(hidden)
        hidden = layers.Activation("relu")(hidden)
        hidden = layers.Dropout(0.1)(hidden)
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, metrics=["accuracy"])
    return model


if __name__ == "__main__":
    main()
