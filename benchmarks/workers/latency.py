"""How much faster the second of two exported artifacts answers, both called in turn on the same random rows."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workers.protocol import report

#: Pairs of calls are timed for this long at every batch size, and at least so many.
SECONDS, LEAST = 3.0, 7


def saved_model(path: str) -> tuple[list[Any], Callable[[Any], Any]]:
    import tensorflow as tf

    signature = tf.saved_model.load(path).signatures["serving_default"]
    (name, spec), *_ = signature.structured_input_signature[1].items()
    return list(spec.shape), lambda x: [y.numpy() for y in signature(**{name: tf.constant(x)}).values()]


def onnx(path: str) -> tuple[list[Any], Callable[[Any], Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads that wait spin for a while, and those of one session would take the cores from the other's call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
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
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    given = parser.parse_args()
    shape, plain = RUNTIMES[given.runtime](given.plain)
    _, folded = RUNTIMES[given.runtime](given.folded)
    figures = {}
    for batch in given.batch:
        x = np.random.default_rng(0).normal(size=(batch, *(int(size) for size in shape[1:]))).astype("float32")
        figures[str(batch)] = ratio(lambda x=x: plain(x), lambda x=x: folded(x))
    report(**figures)


def ratio(plain: Callable[[], Any], folded: Callable[[], Any]) -> float:
    """The median over pairs of calls that follow one another: what else the machine does slows both alike."""
    for _ in range(3):
        plain()
        folded()
    ratios: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(ratios) < LEAST:
        # Which of the two goes first changes, for the first finds the caches as the second left them.
        order = (plain, folded) if len(ratios) % 2 else (folded, plain)
        taken = {call: seconds(call) for call in order}
        ratios.append(taken[plain] / taken[folded])
    return statistics.median(ratios)


def seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
