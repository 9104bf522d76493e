"""Commands to begin with: a starter spec, and a look at what is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.errors import InputError


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("model.yaml"),
    template: Annotated[
        str, typer.Option("--template", "-t", help="A shipped spec: digits, mnist_mlp, ...")
    ] = "digits",
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Write a starter spec.

    For example:  kbuild init model.yaml && kbuild train model.yaml
    """
    from kbuild.resources import spec_path

    text = spec_path(template).read_text(encoding="utf-8")
    if path.is_dir():
        path = path / f"{template}.yaml"
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
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
