"""Commands that read models which kbuild did not make: no TensorFlow, and no code of the model is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.cli.output import free, write


def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file, or a model's JSON.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The spec to write; stdout if not given.")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write the spec of a saved model, with the ordering policy found in it.

    For example:  kbuild import resnet50.keras -o resnet50.yaml
    """
    from kbuild.importing import import_model

    free(output, overwrite)
    imported = import_model(model)
    if not quiet:
        for remark in imported.remarks:
            print(f"note: {remark}", file=sys.stderr)
    if output is not None:
        write(output, imported.spec)
    if json_:
        print(json.dumps(imported.to_dict(), indent=1))
    elif output is not None:
        print(output)
    else:
        print(imported.spec, end="")
