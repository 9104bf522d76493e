"""Options that several commands share, each with its help once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import complete

Spec = Annotated[
    Path, typer.Argument(metavar="SPEC", help="The YAML spec.", show_default=False, autocompletion=complete.specs)
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False, autocompletion=complete.runs)
]
Ordering = Annotated[
    str | None,
    typer.Option(
        "--ordering",
        metavar="P",
        help="A policy's name or an order such as W-A-D-N, instead of the spec's.",
        autocompletion=complete.orderings,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Override a value of the spec, e.g. vars.width=64. Repeatable.",
        autocompletion=complete.settings,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks, and TensorFlow's log.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Best = Annotated[bool, typer.Option("--best", help="Use checkpoints/best.keras instead of the exported model.")]
