"""Commands to begin with: a starter spec, and a look at what is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.cli.output import free, write
from kbuild.errors import InputError


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("model.yaml"),
    template: Annotated[
        str, typer.Option("--template", "-t", help="A shipped spec: digits, mnist_mlp, ...")
    ] = "digits",
    data: Annotated[
        Path | None, typer.Option("--data", help="A .csv or .parquet file: the spec learns from its columns.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="The column of --data to learn.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write, as the argument.")] = None,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Write a starter spec, for a table of yours or one that is shipped.

    For example:  kbuild init model.yaml && kbuild train model.yaml
    Or:  kbuild init --data people.csv --target income -o people.yaml
    """
    from kbuild.resources import spec_path

    path = output or path
    if path.is_dir():
        path = path / f"{data.stem if data else template}.yaml"
    free(path, overwrite)
    if (data is None) != (target is None):
        raise InputError("--data names a table and --target the column of it to learn: they go together")
    if data is not None and target is not None:
        from kbuild.train.data.table_spec import table_spec

        text = table_spec(data, target, path)
    else:
        text = spec_path(template).read_text(encoding="utf-8")
    write(path, text)
    print(path)


def doctor(json_: options.Json = False, debug: options.Debug = False) -> None:
    """Show versions, devices and extras, and whether they work together.

    For example:  kbuild doctor --json
    """
    from kbuild.train.doctor import examine

    report = examine()
    if json_:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        print(report.text(), end="")
    if report.failures:
        raise typer.Exit(1)
