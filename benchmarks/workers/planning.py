"""The part without TensorFlow: read and plan a spec that resolves to so many layers."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.workers.protocol import report
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import load_spec


def text(units: int) -> str:
    """A spec of `units` Dense layers, one line each, and a head."""
    lines = ["input: {shape: [64]}", "ordering: W-N-A-D", "layers:"]
    lines += ["  - Dense: {units: 64, activation: relu}"] * units
    return "\n".join([*lines, "  - Dense: 10", ""])


def main() -> None:
    layers = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "long.yaml"
        # Under W-N-A-D a unit resolves to four layers; input and head are two more.
        path.write_text(text((layers - 2) // 4), "utf-8")
        begun = time.perf_counter()
        plan = plan_spec(load_spec(path))
        seconds = time.perf_counter() - begun
    assert "tensorflow" not in sys.modules
    report(seconds=seconds, layers=len(plan.layers))


if __name__ == "__main__":
    main()
