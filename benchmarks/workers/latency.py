"""Milliseconds per call of two exported artifacts in their own runtime, called in turn on the same random rows."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workers.protocol import report

#: Pairs of calls are timed for this long, and at least so many.
SECONDS, LEAST = 5.0, 9


def saved_model(path: str) -> tuple[list[Any], Callable[[Any], Any]]:
    import tensorflow as tf

    signature = tf.saved_model.load(path).signatures["serving_default"]
    (name, spec), *_ = signature.structured_input_signature[1].items()
    return list(spec.shape), lambda x: [y.numpy() for y in signature(**{name: tf.constant(x)}).values()]


def onnx(path: str) -> tuple[list[Any], Callable[[Any], Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    return list(given.shape), lambda x: session.run(None, {given.name: x})


def litert(path: str) -> tuple[list[Any], Callable[[Any], Any]]:
    import os

    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=path, num_threads=os.cpu_count()).get_signature_runner("serving_default")
    (name, detail), *_ = runner.get_input_details().items()
    return list(detail["shape_signature"]), lambda x: runner(**{name: x})


RUNTIMES = {"savedmodel": saved_model, "onnx": onnx, "litert": litert}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("plain")
    parser.add_argument("folded")
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    shape, plain = RUNTIMES[given.runtime](given.plain)
    _, folded = RUNTIMES[given.runtime](given.folded)
    x = np.random.default_rng(0).normal(size=(given.batch, *(int(size) for size in shape[1:]))).astype("float32")
    for _ in range(3):
        plain(x)
        folded(x)
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(times[0]) < LEAST:
        for call, kept in zip((plain, folded), times, strict=True):
            begun = time.perf_counter()
            call(x)
            kept.append(time.perf_counter() - begun)
    # Pairs of calls that follow one another: what else the machine does slows both alike.
    ratio = statistics.median(plain / folded for plain, folded in zip(*times, strict=True))
    report(ratio=ratio, plain=1000 * statistics.median(times[0]), folded=1000 * statistics.median(times[1]))


if __name__ == "__main__":
    main()
