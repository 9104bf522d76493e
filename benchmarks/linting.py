"""What the lint takes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.harness import ROOT, Figures, in_turn, process, worker
from benchmarks.report import claim, section, table

#: Layers of the plans, and the orders they stand in: one with few findings, one with a finding at every unit.
LAYERS, ORDERS = (1_000, 10_000), ("W-N-A-D", "W-A-D-N")
#: Files in one call.
FILES = 100


def lint(repetitions: int) -> str:
    """Rules over long plans, and a whole process over many files."""
    contestants = {
        (layers, order): lambda _, layers=layers, order=order: worker("linting", layers, order)
        for layers in LAYERS
        for order in ORDERS
    }
    results = in_turn({f"{layers} {order}": run for (layers, order), run in contestants.items()}, repetitions)
    rows = []
    for (layers, order), result in zip(contestants, results.values(), strict=True):
        seconds = result.median("seconds")
        share = f"{seconds / result.median('planning'):.2f}"
        promised = claim(seconds, 1.0, at_most=True) if layers == max(LAYERS) else ""
        rows.append([f"{layers:,}", order, f"{result.median('findings'):,.0f}", share, promised])
    long = table(["resolved layers", "order", "findings", "time, planning = 1", "promised (seconds)"], rows)
    with tempfile.TemporaryDirectory() as place:
        files = _specs(Path(place))

        def many(_: int) -> Figures:
            return process([sys.executable, "-m", "kbuild", "lint", *files], 0)

        many(0)  # byte code and the disk cache
        seconds = in_turn({f"{FILES} specs": many}, repetitions)[f"{FILES} specs"].median("seconds")
    text = (
        "All rules over a spec of many Dense layers, a line each, once it is planned. `kbuild lint` as a whole process "
        f"over {FILES} files in one call, copies of the specs in `specs/` and `specs/papers/`, takes {seconds:.1f} s "
        f"here ({claim(seconds, 3.0, at_most=True)})."
    )
    return section("Lint", text, long)


def _specs(place: Path) -> list[Path]:
    """Copies of the shipped specs but the zoo, each with a name of its own."""
    shipped = sorted([*(ROOT / "specs").glob("*.yaml"), *(ROOT / "specs/papers").glob("*.yaml")])
    files = [place / f"{number:03}_{shipped[number % len(shipped)].name}" for number in range(FILES)]
    for number, path in enumerate(files):
        path.write_bytes(shipped[number % len(shipped)].read_bytes())
    return files
