"""Every rule over a plan of so many layers, once it is planned; no TensorFlow."""

from __future__ import annotations

import sys
import time

from benchmarks.workers.planning import text
from benchmarks.workers.protocol import report
from kbuild.lint import check
from kbuild.lint.rules import every
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import parse_spec

TRAIN = "train: {data: digits, loss: sparse_categorical_crossentropy, optimizer: adamw, epochs: 3}\n"


def main() -> None:
    layers, order = int(sys.argv[1]), sys.argv[2]
    # A unit resolves to four layers; input and head are two more.
    written = text((layers - 2) // 4).replace("W-N-A-D", order) + TRAIN
    spec = parse_spec(written, name="long.yaml")
    begun = time.perf_counter()
    plan = plan_spec(spec)
    planned = time.perf_counter()
    rules = every()
    found = check.report(plan, spec.train, spec.source, rules)
    seconds = time.perf_counter() - planned
    assert "tensorflow" not in sys.modules
    report(seconds=seconds, planning=planned - begun, layers=len(plan.layers), findings=len(found.findings))


if __name__ == "__main__":
    main()
