"""`make bench`: run every section and write `docs/benchmarks.md`; with `--only`, print that section instead."""

from __future__ import annotations

import argparse
import sys

from benchmarks.harness import ROOT
from benchmarks.report import document
from benchmarks.sections import SECTIONS

TARGET = ROOT / "docs/benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=SECTIONS, help="run one section and print it")
    given = parser.parse_args()
    chosen = [given.only] if given.only else list(SECTIONS)
    parts = []
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        parts.append(SECTIONS[name](given.repetitions))
    if given.only:
        print("\n".join(parts))
        return
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(document(parts, given.repetitions), "utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
