"""What all training contestants share: arguments, data, the clock and the line of JSON. Imports no framework."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np

BATCH = 128
LEARNING_RATE = 0.001

#: `--set` texts that change a model's spec. The few steps of the CNN leave moving statistics of momentum 0.99 far from
#: those of the data (the lint's norm-statistics-unconverged), and its test accuracy would say nothing.
SETTINGS = {"mlp": (), "cnn": ("ordering.norm={BatchNormalization: {momentum: 0.9}}",)}


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        model: "mlp" or "cnn", the shipped spec `mnist_<model>.yaml`.
        data: an archive with x_train, y_train, x_test, y_test.
        rows: the first so many training examples are used.
        epochs: epochs in all; the first is not timed.
        strategy: of kbuild, as `kbuild train --strategy` takes it.
        tf_data: whether Keras reads a `tf.data` pipeline rather than arrays.
    """

    model: str
    data: str
    rows: int
    epochs: int
    seed: int
    strategy: str
    tf_data: bool

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """uint8 images of shape (rows, 28, 28), with a channel axis for the CNN, and integer labels."""
        with np.load(self.data) as archive:
            x, y, x_test, y_test = (archive[key] for key in ("x_train", "y_train", "x_test", "y_test"))
        if self.model == "cnn":
            x, x_test = x[..., None], x_test[..., None]
        return x[: self.rows], y[: self.rows].astype("int32"), x_test, y_test.astype("int32")


def read_task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", default="none")
    parser.add_argument("--tf-data", action="store_true")
    return Task(**vars(parser.parse_args()))


class Clock:
    """Notes the end of every epoch; the first one (tracing, caches) starts the measurement."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def epoch_ended(self) -> None:
        self.ends.append(time.perf_counter())

    def rate(self, rows: int) -> float:
        """Training images per second over all epochs but the first."""
        return rows * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def report(**figures: float | str) -> None:
    print(json.dumps(figures), flush=True)
