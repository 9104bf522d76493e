"""Commands that train, evaluate and predict: TensorFlow from here on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kbuild.cli import complete, options
from kbuild.errors import InputError


def train(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC",
            help="The YAML spec; with --resume also a run's directory.",
            show_default=False,
            autocompletion=complete.specs,
        ),
    ],
    ordering: options.Ordering = None,
    set_: options.Set = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Deterministic kernels only, as train.deterministic.")
    ] = False,
    strategy: Annotated[
        str | None,
        typer.Option(help="mirrored, mirrored:2 (replicas), multiworker (TF_CONFIG) or none.", metavar="KIND"),
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="The run's directory; runs/NAME-DATE-TIME if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name, instead of the spec's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that --run-dir names.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that --run-dir names; begin it if there is none.")
    ] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Log to MLflow too (MLFLOW_TRACKING_URI).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, train and write nothing.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train, evaluate, export a SavedModel and prove that it predicts the same.

    For example:  kbuild train specs/digits.yaml --ordering W-A-D-N --epochs 5

    A run that was killed goes on:  kbuild train runs/digits-20261120-101500 --resume
    """
    from kbuild.plan.pipeline import compile_spec
    from kbuild.show import table

    if spec.is_dir() and resume:
        compiled, plan = _own_spec(spec, ordering, set_, run_dir)
        run_dir = spec
    else:
        compiled, plan = compile_spec(spec, ordering, set_ or [])
    if not quiet:
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
    from kbuild.train import run
    from kbuild.train.strategy import WorkerLost, start_again

    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "deterministic": deterministic or None,
        "strategy": strategy,
    }
    if dry_run:
        planned = run.dry_run(compiled, plan, **given)
        print(json.dumps(planned.to_dict(), indent=1) if json_ else planned.text())
        return
    try:
        result = run.train(
            compiled,
            plan,
            **given,
            run_dir=run_dir,
            name=name,
            overwrite=overwrite,
            resume=resume,
            mlflow=mlflow,
            quiet=quiet,
            command=sys.argv,
            summary=table.render(plan),
        )
    except WorkerLost as error:
        start_again(sys.argv, str(error))
        raise
    print(json.dumps(result.to_dict(), indent=1) if json_ else result.text())


def _own_spec(path: Path, ordering: str | None, set_: list[str] | None, run_dir: Path | None) -> tuple[Any, Any]:
    """Spec and plan of a run that goes on as it was begun."""
    from kbuild.plan.pipeline import plan_spec
    from kbuild.train.resume import read_earlier

    if ordering is not None or set_ or run_dir is not None:
        raise InputError(f"{path} goes on as it was begun; --ordering, --set and --run-dir need the spec")
    spec = read_earlier(path).spec
    return spec, plan_spec(spec)


def evaluate(
    run: options.Run,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A file or folder of the kind of the run's data, or an .npz with x_test and y_test, instead of them."
        ),
    ] = None,
    best: options.Best = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Evaluate a run's model on its test data, or on a file.

    For example:  kbuild evaluate runs/digits-20261120-101500 --best
    """
    from kbuild.train.evaluate import evaluate as measure
    from kbuild.train.progress import shown

    result = measure(run, data, best=best, quiet=quiet)
    if json_:
        print(json.dumps(result, indent=1))
        return
    for split, metrics in result["metrics"].items():
        print(f"{split:<10} {shown(metrics)}  ({result['rows'][split]:,} examples)")


def predict(
    run: options.Run,
    input_: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="An .npz, .npy, .csv or .parquet file; for a run on such data an image, a folder of images, "
            "or TFRecord files.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .npy, .csv or .jsonl file; JSON lines on stdout if not given."),
    ] = None,
    array: Annotated[str | None, typer.Option(help="The array of an .npz to read.")] = None,
    best: options.Best = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Predict for every row of a file, every image or every record.

    For example:  kbuild predict runs/digits-20261120-101500 images.npy -o predictions.csv
    """
    from kbuild.train.predict import predict as write

    result = write(run, input_, output, best=best, array=array, overwrite=overwrite)
    if output is not None:
        print(f"{result['output']}  ({result['rows']:,} rows)")


def reproduce(
    run: options.Run,
    run_dir: Annotated[
        Path | None, typer.Option(help="Keep the new run in this directory; it is removed if not given.")
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a run again from its own files and say whether the weights are the same, bit for bit.

    If not: what differs in versions, hardware, data or seeds. Exit code 0 for the same bits, 1 for others.

    For example:  kbuild reproduce runs/digits-20261120-101500
    """
    from kbuild.train.reproduce import reproduce as train_again

    found = train_again(run, run_dir, quiet=quiet, command=sys.argv)
    print(json.dumps(found.to_dict(), indent=1) if json_ else found.text())
    if not found.equal:
        raise typer.Exit(1)


def runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of runs, or one run.")] = Path("runs"),
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List runs with spec, ordering, epochs, best epoch and state, in the order in which they were started.

    For example:  kbuild runs --json
    """
    from kbuild.train.runs import list_runs, render, to_json

    found = list_runs(folder)
    print(to_json(found) if json_ else render(found) if found else f"no runs in {folder}")
