"""The command that looks at the statistics of batch normalization."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.errors import InputError


def diagnose(
    run: options.Run,
    rows: Annotated[
        int | None, typer.Option(min=1, help="At most so many training examples, evenly spread; all if not given.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with a plot per layer.")] = None,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Write RUN/export/model_recalibrated.keras.")
    ] = False,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare the statistics that BN learned with those it meets at inference, and try recalibration.

    For example:  kbuild diagnose runs/digits-20261120-101500 --html statistics.html
    """
    from kbuild.files import finite, write_text

    target = run / "export" / "model_recalibrated.keras"
    if recalibrate and target.exists():
        raise InputError(f"{target} exists, and is never overwritten; move it away first")
    from kbuild.diagnose import diagnosis, page, table

    found, model = diagnosis.diagnose(run, rows)
    if recalibrate:
        from kbuild.diagnose.writing import write_recalibrated

        write_recalibrated(model, run, target)
    if html is not None:
        write_text(html, page.render(found))
    print(json.dumps(finite(found.to_dict()), indent=1) if json_ else table.render(found))
    for written in (target if recalibrate else None, html):
        if written is not None:
            print(f"wrote {written}", file=sys.stderr)
