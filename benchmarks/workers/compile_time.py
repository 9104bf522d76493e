"""From text to a built model: a spec through kbuild, or the same model by hand, in turn in one process."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.workers.protocol import report

BUILDS = 7


def main() -> None:
    name = sys.argv[1]
    from benchmarks.reference import MODELS
    from kbuild.model.lower import build_model
    from kbuild.plan.pipeline import plan_spec
    from kbuild.resources import spec_path
    from kbuild.spec.load import load_spec

    path = spec_path(f"mnist_{name}")
    contestants: dict[str, Callable[[], Any]] = {
        "keras": MODELS[name],
        "kbuild": lambda: build_model(plan_spec(load_spec(path)), 0),
    }
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    for turn in range(BUILDS + 1):
        for who, build in contestants.items():
            gc.collect()
            begun = time.perf_counter()
            build()
            if turn:  # the first model of a process pays for what Keras imports late
                seconds[who].append(time.perf_counter() - begun)
    report(**{who: statistics.median(values) for who, values in seconds.items()})


if __name__ == "__main__":
    main()
