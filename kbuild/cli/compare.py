"""Commands that set two models side by side; no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbuild.cli import options
from kbuild.errors import InputError

if TYPE_CHECKING:
    from kbuild.plan.plan import Plan

Source = "A spec, a run directory, or a policy or order, drawn on a small residual network."
Orderings = Annotated[
    list[str] | None,
    typer.Option(
        "--ordering",
        metavar="P",
        help="A policy's name or an order, instead of the spec's. Given once: A alone is compared with A under it, "
        "and A and B are both taken under it. Given twice: the first is for A, the second for B.",
    ),
]


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=Source, show_default=False)],
    b: Annotated[str | None, typer.Argument(metavar="B", help="The other, or A itself.", show_default=False)] = None,
    ordering: Orderings = None,
    set_: options.Set = None,
    json_: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Print what differs between two models, unit by unit, and why. Exit code 0: the same; 1: different.

    For example:  kbuild diff specs/digits.yaml --ordering W-A-D-N
    """
    from kbuild.show.diff import compare

    (source_a, order_a), (source_b, order_b) = _sides(a, b, ordering or [])
    plan_a, name_a = _plan(source_a, order_a, set_ or [])
    plan_b, name_b = _plan(source_b, order_b, set_ or [])
    found = compare(plan_a, plan_b, name_a, name_b)
    if json_:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        from kbuild.show import diff_text

        diff_text.print_difference(found, plan_a, plan_b)
    if not found.same:
        raise typer.Exit(1)


def _sides(a: str, b: str | None, orderings: list[str]) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    """Source and ordering of each side."""
    if len(orderings) > 2:
        raise InputError(f"--ordering is for A and for B; it is given {len(orderings)} times")
    if len(orderings) == 2:
        return (a, orderings[0]), (b or a, orderings[1])
    if b is None:
        if not orderings:
            raise InputError("there is one model only; give B, or --ordering for what A is compared with")
        return (a, None), (a, orderings[0])
    ordering = orderings[0] if orderings else None
    return (a, ordering), (b, ordering)


def _plan(source: str, ordering: str | None, overrides: list[str]) -> tuple[Plan, str]:
    """The plan of a side and what it is called. A file or directory goes before a policy of the same name."""
    from kbuild.cli.inspect import read_run
    from kbuild.plan.pipeline import compile_spec

    path = Path(source)
    if path.is_dir():
        return read_run(path, ordering, overrides), source
    if not path.exists() and not path.suffix:
        if ordering is not None or overrides:
            raise InputError(f"{source} is no file; --ordering and --set apply to specs")
        return _policy(source), source
    if path.suffix in (".keras", ".h5"):
        raise InputError(f"{source} is a saved model; `kbuild import` writes its spec, which can be compared")
    _, plan = compile_spec(path, ordering, overrides)
    return plan, f"{source} --ordering {ordering}" if ordering is not None else source


def _policy(text: str) -> Plan:
    """A policy or an order on the example that `kbuild policies NAME` draws."""
    from kbuild import policy
    from kbuild.plan.pipeline import plan_spec
    from kbuild.show.policies import EXAMPLE
    from kbuild.spec.load import parse_spec

    try:
        policy.find(text)
    except policy.OrderError as error:
        raise InputError(f"{text} is no file, and {error}") from None
    return plan_spec(parse_spec(EXAMPLE % text))
