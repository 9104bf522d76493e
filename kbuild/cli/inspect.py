"""Commands that only look: no TensorFlow, unless a layer's shape is known to Keras alone."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbuild.cli import complete, options
from kbuild.cli.output import free, write
from kbuild.errors import InputError

if TYPE_CHECKING:
    from kbuild.plan.plan import Plan


#: What the name of a saved model ends in.
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")


class Format(str, enum.Enum):
    table = "table"
    json = "json"
    mermaid = "mermaid"
    html = "html"


def summarize(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC|RUN|MODEL",
            help="A spec, a run directory, or a saved model (.keras, .h5, .json).",
            show_default=False,
            autocompletion=complete.subjects,
        ),
    ],
    ordering: options.Ordering = None,
    set_: options.Set = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write instead of stdout.")] = None,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Print the resolved order of the layers and why each stands there.

    For example:  kbuild summarize specs/digits.yaml --ordering W-A-D-N
    """
    free(output, overwrite)
    plan = _plan(source, ordering, set_ or [])
    chosen = Format.json if json_ else format_
    if output is None and chosen is Format.table:
        from kbuild.show import table

        table.print_plan(plan)
    elif output is None:
        print(_rendered(plan, chosen), end="")
    else:
        write(output, _rendered(plan, chosen))
        print(output)


def _rendered(plan: Plan, chosen: Format) -> str:
    if chosen is Format.json:
        return plan.to_json() + "\n"
    if chosen is Format.mermaid:
        from kbuild.show import mermaid

        return mermaid.render(plan)
    if chosen is Format.html:
        from kbuild.show import html

        return html.page(plan)
    from kbuild.show import table

    return table.render(plan)


def _plan(source: Path, ordering: str | None, overrides: Iterable[str]) -> Plan:
    from kbuild.plan.pipeline import compile_spec

    if source.is_dir() and (source / "plan.json").is_file():
        return read_run(source, ordering, overrides)
    if source.suffix.lower() in MODEL_SUFFIXES:
        plan = read_model(source, ordering, overrides)
    else:
        _, plan = compile_spec(source, ordering, overrides)
    if plan.unresolved:
        classes = ", ".join(sorted({layer.cls for layer in plan.without_rule}))
        print(f"only Keras knows the shape or weights of {classes}: building the model takes seconds", file=sys.stderr)
        from kbuild.model.complete import complete

        plan = complete(plan)
    return plan


def read_model(model: Path, ordering: str | None, overrides: Iterable[str]) -> Plan:
    """The plan of a saved model.

    Raises:
        InputError: it is none that kbuild reads, or something is to be overridden in it.
    """
    from kbuild.importing import plan_of_model

    if ordering is not None or overrides:
        hint = "`kbuild import` writes its spec"
        raise InputError(f"{model} is a saved model; --ordering and --set apply to specs: {hint}")
    return plan_of_model(model)


def read_run(run: Path, ordering: str | None, overrides: Iterable[str]) -> Plan:
    """The plan of a run directory.

    Raises:
        InputError: it is none, it is damaged, or something is to be overridden in it.
    """
    from kbuild.plan.plan import Plan

    if ordering is not None or overrides:
        raise InputError(f"{run} is a finished run; --ordering and --set apply to specs ({run}/spec.yaml)")
    try:
        return Plan.from_json((run / "plan.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{run} is no run directory: plan.json cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run / 'plan.json'} is damaged: {error}") from error


def policies(
    name: Annotated[str | None, typer.Argument(help="One policy, in full.", show_default=False)] = None,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the named policies, or show one with its source and a drawing.

    For example:  kbuild policies preact
    """
    from kbuild import policy as table
    from kbuild.show import policies as show

    one = table.named(name)
    if name is not None and one is None:
        try:
            table.find(name)
        except table.OrderError as error:
            raise InputError(str(error)) from None
        raise InputError(f"{name} is an order, which needs no name; `kbuild policies` lists the named ones")
    if json_:
        chosen = table.every() if one is None else (one,)
        print(json.dumps([show.as_dict(policy) for policy in chosen], indent=1))
    elif one is None:
        show.print_table()
    else:
        print(show.in_full(one), end="")
