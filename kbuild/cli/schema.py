"""`kbuild schema`: the spec language for editors. No TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.cli.output import free, write


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; stdout if not given.", show_default=False)
    ] = None,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Print the JSON Schema of specs, with which editors complete and check them.

    For example:  kbuild schema -o kbuild.schema.json
    """
    from kbuild.spec.schema import schema as make

    free(output, overwrite)
    text = json.dumps(make(), ensure_ascii=False, separators=(",", ":"))
    if output is None:
        print(text)
        return
    write(output, text + "\n")
    print(output)
