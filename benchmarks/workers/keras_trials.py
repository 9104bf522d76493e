"""Plain Keras: a script that loops over orders and seeds in one process, the network of `specs/digits.yaml`."""

from __future__ import annotations

import argparse
import time

BEGUN = time.perf_counter()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.harness import ROOT  # noqa: E402
from benchmarks.workers.protocol import report  # noqa: E402

RATES = {"conv": 0.2, "dense": 0.3}


def around(x: keras.KerasTensor, weights: keras.Layer, order: str, rate: float) -> keras.KerasTensor:
    made = {"N": keras.layers.BatchNormalization, "A": keras.layers.ReLU, "D": lambda: keras.layers.Dropout(rate)}
    for letter in order.split("-"):
        x = weights(x) if letter == "W" else made[letter]()(x)
    return x


def network(order: str) -> keras.Model:
    layers = keras.layers
    x = start = keras.Input((8, 8, 1))
    x = layers.Rescaling(0.0625)(x)
    x = around(x, layers.Conv2D(16, 3, padding="same"), order, RATES["conv"])
    x = layers.MaxPooling2D()(x)
    x = around(x, layers.Conv2D(32, 3, padding="same"), order, RATES["conv"])
    x = layers.Flatten()(x)
    x = around(x, layers.Dense(64), order, RATES["dense"])
    return keras.Model(start, layers.Dense(10)(x))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", required=True)
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    given = parser.parse_args()
    with np.load(ROOT / "kbuild/data/digits.npz") as arrays:
        x, y, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    x, x_test = (array.reshape(-1, 8, 8, 1).astype("float32") for array in (x, x_test))
    for order in given.orders.split(","):
        for seed in range(given.seeds):
            keras.utils.set_random_seed(seed)
            model = network(order)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(0.002), loss, metrics=["accuracy"])
            model.fit(x, y, batch_size=32, epochs=given.epochs, validation_split=0.1, verbose=0)
            model.evaluate(x_test, y_test, batch_size=32, verbose=0)
    report(seconds=time.perf_counter() - BEGUN)


if __name__ == "__main__":
    main()
