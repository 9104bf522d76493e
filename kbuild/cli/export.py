"""The command that writes a trained model for other runtimes."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbuild.cli import options

if TYPE_CHECKING:
    from kbuild.export.exporting import Exported


class Quantize(str, enum.Enum):
    dynamic = "dynamic"
    float16 = "float16"
    int8 = "int8"


def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL", help="A run directory, or a .keras or .h5 file.", show_default=False)
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMATS", help="savedmodel, keras, onnx, litert; several with commas.")
    ] = "savedmodel",
    fold: Annotated[
        bool, typer.Option("--fold", help="Write each a second time with BN folded into weights and no dropout.")
    ] = False,
    quantize: Annotated[Quantize | None, typer.Option(help="Smaller numbers for LiteRT.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The directory; RUN/export, or MODEL_export beside a file, if not given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Rows to compare predictions on (.npz, .npy, .csv), instead of the run's test data."),
    ] = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Export a model, and prove in a clean process that each artifact predicts the same.

    For example:  kbuild export runs/digits-20261120-101500 --to savedmodel,onnx --fold
    """
    from kbuild.export.exporting import export as write

    result = write(source, to, fold, quantize.value if quantize else None, output, data)
    if json_:
        print(json.dumps(result.to_dict(), indent=1))
        return
    if not quiet:
        for name, why in (result.folded or {}).get("kept", {}).items():
            print(f"note: {name} {why}", file=sys.stderr)
    print(_text(result))


def _text(result: Exported) -> str:
    names = [f"{result.folder}/{name}" for name in result.artifacts]
    width = max(map(len, names))
    lines = []
    for name, figures in zip(names, result.artifacts.values(), strict=True):
        outputs = figures["outputs"].values()
        difference, bound = max(f["max_abs"] for f in outputs), max(f["tolerance"] for f in outputs)
        same = [f["same_top"] for f in outputs if f["same_top"] is not None]
        top = f", same top class {min(same):.1%}" if same else ""
        lines.append(
            f"{name:<{width}}  {figures['bytes'] / 1e6:8.3f} MB  largest difference {difference:.1e} "
            f"(allowed {bound:.1e}){top}"
        )
    if result.folded is not None:
        into, kept = len(result.folded["into"]), len(result.folded["kept"])
        lines.append(f"folded {into} of {into + kept} normalizations, dropped {len(result.folded['dropped'])} dropouts")
    return "\n".join([*lines, f"compared on {result.origin}"])
