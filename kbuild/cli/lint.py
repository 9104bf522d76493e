"""`kbuild lint`: what is known to go wrong, found in specs, runs and saved models. No TensorFlow."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbuild.cli import complete, options
from kbuild.cli.explain import linked, more
from kbuild.errors import InputError, SpecError

if TYPE_CHECKING:
    from kbuild.lint.finding import Rule
    from kbuild.lint.formats import Linted


class Format(str, enum.Enum):
    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"


class Level(str, enum.Enum):
    info = "info"
    warning = "warning"
    error = "error"


def lint(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SPEC|RUN|MODEL.keras...",
            help="What to check.",
            show_default=False,
            autocompletion=complete.subjects,
        ),
    ] = None,
    ordering: options.Ordering = None,
    set_: options.Set = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print the findings.")] = Format.text,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE,...", help="Only these rules. Repeatable.", autocompletion=complete.rules),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE,...", help="All but these rules. Repeatable.", autocompletion=complete.rules),
    ] = None,
    level: Annotated[Level, typer.Option(help="The mildest findings to show.")] = Level.info,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for an info too; without it, from a warning on.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Make the safe changes in the specs.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show the changes of --fix, and make none.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="Explain a rule; `all` lists them.", autocompletion=complete.explainable),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Check where normalization, activation and dropout stand. Exits with 1 from a warning on, 2 if unreadable.

    For example:  kbuild lint specs/*.yaml --ignore high-dropout-with-norm
    """
    from kbuild.lint import rules
    from kbuild.lint.formats import explain as in_full
    from kbuild.lint.formats import explain_all

    if explain is not None:
        print(explain_all() if explain == "all" else in_full(rules.rule(explain).id))
        return
    if not sources:
        raise InputError("name a spec, a run directory or a saved model; `kbuild lint --help` shows more")
    chosen = rules.chosen(_names(select), _names(ignore))
    for one in rules.of_packages() if not select else ():
        if one.made is None:
            print(f"note: {one.complaint}: {one.refusal}", file=sys.stderr)
    files = list(_linted(sources, ordering, set_ or [], chosen, fix=fix and not diff, diff=diff))
    shown = [_from_level(file, level.value) for file in files]
    if not diff:
        printed = _printed(shown, format_)
        if printed:
            print(linked(printed, sys.stdout) if format_ is Format.text else printed)
    if format_ is Format.text:
        for file in files:
            if file.error is not None:
                print(file.error if "error[" in str(file.error) else f"error: {file.error}", file=sys.stderr)
        if names := [*_codes(files), *(one.rule for file in shown for one in file.findings)]:
            print(more(names), file=sys.stderr)
    raise typer.Exit(_exit_code(files, strict))


def _printed(files: list[Linted], format_: Format) -> str:
    from kbuild import __version__
    from kbuild.lint import formats

    if format_ is Format.sarif:
        return formats.as_sarif(files, __version__)
    return {Format.text: formats.as_text, Format.json: formats.as_json, Format.github: formats.as_github}[format_](
        files
    )


def _codes(files: list[Linted]) -> list[str]:
    errors = (file.error for file in files)
    return [one.code for error in errors if isinstance(error, SpecError) for one in error.problems]


def _names(given: Iterable[str] | None) -> list[str]:
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()]


def _linted(
    sources: list[Path], ordering: str | None, overrides: list[str], rules: tuple[Rule, ...], fix: bool, diff: bool
) -> Iterator[Linted]:
    from kbuild.lint.check import report
    from kbuild.lint.formats import Linted
    from kbuild.lint.mend import mended, unified, write
    from kbuild.lint.subject import read_subject

    for path in sources:
        try:
            subject = read_subject(path, ordering, overrides)
            if fix or diff:
                new = mended(subject, rules)
                if diff:
                    print(unified(subject, new), end="")
                elif write(subject, new):
                    subject = read_subject(path, ordering, overrides)
            found = report(subject.plan, subject.train, subject.text, rules, subject.folder, subject.included)
        except InputError as error:
            yield Linted(path, error=error)
        else:
            yield Linted(path, found.findings, len(found.suppressed))


def _from_level(file: Linted, level: str) -> Linted:
    from dataclasses import replace

    from kbuild.lint.finding import at_least

    return replace(file, findings=tuple(one for one in file.findings if at_least(one.level, level)))


def _exit_code(files: list[Linted], strict: bool) -> int:
    from kbuild.lint.finding import at_least

    if any(file.error is not None for file in files):
        return 2
    threshold = "info" if strict else "warning"
    return int(any(at_least(one.level, threshold) for file in files for one in file.findings))
