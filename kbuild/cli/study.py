"""`kbuild study` and `kbuild report`: which order is better on one's own data."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from kbuild.cli import options
from kbuild.errors import InputError


class Format(str, enum.Enum):
    text = "text"
    markdown = "markdown"


class Where(str, enum.Enum):
    processes = "processes"
    ray = "ray"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to print the result.")]


def study(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC", help="The YAML spec; with --resume also a study's directory.", show_default=False
        ),
    ],
    policies: Annotated[
        list[str] | None,
        typer.Option(metavar="P,P,...", help="Policies and orders to compare, or `all` named ones. Repeatable."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N", help="How many seeds, counted from 0; or the seeds themselves, such as 3,5,8.")
    ] = "10",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="P", help="What the others are compared with; the spec's own ordering if not given."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What decides; val_accuracy where it is measured, else val_loss.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(metavar="max|min", help="Which way it is better, if its name does not tell.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="A.B=C,D", help="Values of a setting, e.g. ordering.dropout.rate=0.1,0.3. Repeatable."),
    ] = None,
    set_: options.Set = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Count the epochs to this value of the metric; the baseline's median if not given."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The rate of false alarms over all comparisons.")] = 0.05,
    workers: Annotated[
        int | None,
        typer.Option(help="Workers of one core each; one per core if not given. Results do not depend on it."),
    ] = None,
    executor: Annotated[
        Where,
        typer.Option(
            help="Where trials run: processes of this machine, or a Ray cluster (RAY_ADDRESS; extra `cluster`)."
        ),
    ] = Where.processes,
    run_dir: Annotated[
        Path | None, typer.Option(help="The study's directory; runs/NAME-study-DATE-TIME if not given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The study's name, instead of the spec's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the study that --run-dir names.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study that --run-dir names.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would run, how long it takes and what it can detect; measures briefly."
        ),
    ] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
    format_: FormatOption = Format.text,
    debug: options.Debug = False,
) -> None:
    """Compare policies on the spec's data, with many seeds, and say what may be concluded.

    For example:  kbuild study specs/digits.yaml --policies conventional,dropout-before-bn,no-dropout --seeds 10
    """
    from kbuild.study import pilot
    from kbuild.study.asked import Asked, read_seeds
    from kbuild.study.study import plan_study, run_study

    if workers is not None and not 1 <= workers <= 1024:
        raise InputError("--workers is a number from 1 to 1024")
    if resume and (overwrite or dry_run):
        raise InputError("--resume goes on with a study; --overwrite and --dry-run begin one")
    asked = Asked(
        tuple(part.strip() for text in policies or [] for part in text.split(",") if part.strip()),
        read_seeds(seeds),
        tuple(grid or ()),
        tuple(set_ or ()),
        baseline,
        metric,
        direction,
        epochs,
        batch_size,
        alpha,
        target,
        name,
    )
    if dry_run:
        design, said = plan_study(spec, asked, workers, quiet or json_)
        print(json.dumps(said.to_dict(), indent=1) if json_ else pilot.text(design, said))
        return
    outcome = run_study(
        spec,
        asked,
        run_dir=run_dir,
        overwrite=overwrite,
        resume=resume,
        workers=workers,
        executor=executor.value,
        quiet=quiet,
    )
    _print(outcome.folder.path, outcome.analysis, json_, format_)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A study's directory.", show_default=False)],
    json_: options.Json = False,
    format_: FormatOption = Format.text,
    debug: options.Debug = False,
) -> None:
    """Analyse a study's trials again and write its report anew; of an unfinished study, as far as it is.

    For example:  kbuild report runs/digits-study-20261120-101500 --format markdown
    """
    from kbuild.study.folder import open_folder
    from kbuild.study.report import make_report

    folder = open_folder(directory)
    _print(folder.path, make_report(folder), json_, format_)


def _print(path: Path, analysis, json_: bool, format_: Format) -> None:
    from kbuild.study.folder import Folder
    from kbuild.study.report import results_of, summary

    if json_:
        print(json.dumps({"run_dir": str(path), **results_of(Folder(path))}, indent=1))
    elif format_ is Format.markdown:
        print((path / "report.md").read_text(encoding="utf-8"), end="")
    else:
        print(summary(Folder(path), analysis))
