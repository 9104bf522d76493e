"""`kbuild schema`: the spec language for editors. No TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.errors import InputError


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

    text = json.dumps(make(), ensure_ascii=False, separators=(",", ":"))
    if output is None:
        print(text)
        return
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists; --overwrite replaces it")
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from error
    print(output)
