"""The application and what happens to errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from kbuild import __version__
from kbuild.cli import code, compare, diagnose, explain, export, inspect, lint, models, schema, start, study, work
from kbuild.errors import KbuildError, SpecError

INTERRUPTED = 130

app = typer.Typer(
    name="kbuild",
    help="Build Keras models from a short YAML spec; one line decides where BN, activation and Dropout stand.",
    epilog="For example:  kbuild summarize specs/digits.yaml --ordering W-A-D-N",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kbuild {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    pass


#: Commands that do something without an argument; the others show their help.
_ALONE = (work.runs, inspect.policies, explain.explain, schema.schema, start.init, start.doctor)

for _command in (
    work.train,
    inspect.summarize,
    inspect.policies,
    compare.diff,
    code.eject,
    lint.lint,
    explain.explain,
    models.import_,
    study.study,
    study.report,
    work.evaluate,
    work.predict,
    work.reproduce,
    work.runs,
    export.export,
    diagnose.diagnose,
    schema.schema,
    start.init,
    start.doctor,
):
    _name = _command.__name__.rstrip("_")
    app.command(_name, no_args_is_help=_command not in _ALONE)(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run kbuild and exit with its code; a traceback is shown only with `--debug`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        app(args=arguments, prog_name="kbuild")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KbuildError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error) if "error[" in str(error) else f"error: {error}")
        if isinstance(error, SpecError):
            _complain(explain.more(problem.code for problem in error.problems))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away; what is left of stdout goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f" {error.filename}" if error.filename else ""
        _complain(f"error: cannot read or write{where}: {error.strerror or error}")
        return 1
    except MemoryError:
        _complain("error: out of memory")
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug else "; --debug shows where"
        _complain(f"error: kbuild failed: {type(error).__name__}: {error}{hint}")
        return 1
    return 0


def _complain(text: str) -> None:
    print(explain.linked(text, sys.stderr), file=sys.stderr, flush=True)
