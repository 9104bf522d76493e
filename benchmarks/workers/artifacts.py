"""Writes a spec's model in every format that can be written here, as it is and folded; untrained, for speed alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.workers.protocol import report
from kbuild.export.fold import fold_model
from kbuild.export.formats import FORMATS, Request
from kbuild.model.lower import build_model
from kbuild.plan.pipeline import compile_spec


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("folder")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    _, plan = compile_spec(given.spec, None, given.set)
    model = build_model(plan)
    sizes: dict[str, float] = {}
    for folded, one in ((False, model), (True, fold_model(model, plan).model)):
        for name, form in FORMATS.items():
            if name == "keras" or form.missing():
                continue
            path = Path(given.folder) / form.file_name(folded)
            form.write(Request(one, path, folded=folded))
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            sizes[path.name] = sum(file.stat().st_size for file in files)
    report(**sizes)


if __name__ == "__main__":
    main()
