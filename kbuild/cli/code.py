"""Commands that write code: `kbuild eject`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbuild.cli import options
from kbuild.cli.output import free, write

if TYPE_CHECKING:
    from kbuild.plan.plan import Plan
    from kbuild.show.eject.training import Training
    from kbuild.spec.data import DataSettings
    from kbuild.spec.model import Spec


def eject(
    spec: options.Spec,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; stdout if not given.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Write the training too.")] = False,
    ordering: options.Ordering = None,
    set_: options.Set = None,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Write readable Keras code that builds the identical model, and needs kbuild no more.

    For example:  kbuild eject specs/digits.yaml -o digits.py --train
    """
    from kbuild.plan.pipeline import compile_spec
    from kbuild.show.eject import eject as code_of

    if output is not None and output.is_dir():
        output = output / f"{spec.stem}.py"
    free(output, overwrite)
    compiled, plan = compile_spec(spec, ordering, set_ or [])
    folder = output.parent if output is not None else Path()
    source = code_of(plan, _training(compiled, plan, folder) if train else None)
    if output is None:
        print(source, end="")
        return
    write(output, source)
    if train and compiled.train is not None and compiled.train.data.kind == "digits":
        _copy_digits(folder / "digits.npz")
    print(output)


def _training(spec: Spec, plan: Plan, folder: Path) -> Training:
    """The training to write, losses and metrics fitted to the heads."""
    from kbuild.plan.losses import resolve_losses, resolve_metrics
    from kbuild.show.eject.training import Training
    from kbuild.spec.train import Chosen
    from kbuild.train.prepare import train_settings

    settings = train_settings(spec)
    targets = resolve_losses(settings, plan)
    metrics = resolve_metrics(settings, plan, targets)
    weighted = resolve_metrics(settings, plan, targets, "weighted_metrics") if settings.weighted_metrics else {}
    validation = settings.validation

    def file(data: DataSettings) -> str:
        if data.kind == "digits":
            return "digits.npz"
        if data.kind != "npz":
            return ""
        return Path(os.path.relpath((spec.folder / data.source).absolute(), folder.absolute())).as_posix()

    return Training(
        settings,
        tuple(Chosen(target.loss, target.config) for target in targets),
        tuple(tuple(metrics[target.output]) for target in targets),
        file(settings.data),
        "" if isinstance(validation, (int, float)) else file(validation),
        tuple(tuple(some) for some in weighted.values()),
    )


def _copy_digits(path: Path) -> None:
    """The shipped digits beside the code that reads them."""
    from importlib import resources

    if path.exists():
        return
    write(path, (resources.files("kbuild") / "data" / "digits.npz").read_bytes())
    print(f"copied the digits to {path}", file=sys.stderr)
