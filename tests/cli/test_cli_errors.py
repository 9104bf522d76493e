"""The command line as a user meets it: exit codes, streams, help, and no TensorFlow where none is needed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kbuild.cli.main import app, main
from kbuild.errors import InternalError
from kbuild.resources import spec_path

DIGITS = str(spec_path("digits"))
COMMANDS = [command.name for command in app.registered_commands]
ESCAPE = "\x1b["


def kbuild(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kbuild", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100", **environment},
    )


def inside(*arguments: str) -> tuple[int, str, str]:
    """The same in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code, out.getvalue(), err.getvalue()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'"),
        (["summarize", "--bogus", DIGITS], "No such option: --bogus"),
        (["summarize", DIGITS, "--format", "xml"], "'xml' is not one of 'table', 'json', 'mermaid'"),
        (["summarize", DIGITS, "another.yaml"], "unexpected extra argument"),
        (["train", DIGITS, "--epochs", "many"], "'many' is not a valid int"),
        (["summarize", "missing.yaml"], "cannot read missing.yaml: there is no such file"),
        (["summarize", "."], "is a directory; name the spec's file"),
        (["train", "missing.yaml"], "cannot read missing.yaml: there is no such file"),
        (["summarize", "model.keras"], "model.keras"),
        (["summarize", DIGITS, "--ordering", "W-W"], "--ordering:1:1: error[bad-order]"),
        (["summarize", DIGITS, "--set", "train.epochs=x"], "--set train.epochs=x:1:14: error[wrong-type]"),
        (["policies", "preakt"], "did you mean 'preact'?"),
        (["policies", "W-A"], "is an order"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "images.npy"], "nowhere"),
        (["init", DIGITS], "exists; --overwrite replaces it"),
        (["init", "x.yaml", "--template", "digitz"], "did you mean 'digits'"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_input_exits_with_2_and_says_why_on_stderr(arguments: list[str], message: str) -> None:
    code, out, err = inside(*arguments)
    assert code == 2
    assert not out
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("layers: []")
    assert "did you mean 'digits.yaml'?" in inside("summarize", str(tmp_path / "digit.yaml"))[2]
    assert "did you mean" not in inside("summarize", str(tmp_path / "something.yaml"))[2]
    assert "did you mean" not in inside("summarize", str(tmp_path / "nowhere" / "digit.yaml"))[2]


def test_a_broken_spec_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "größe.yaml"
    path.write_text("input: {shape: [3]}\nlayers:\n  - Dnse: 3\n", encoding="utf-8")
    done = kbuild("summarize", str(path))
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr == (
        f"{path}:3:5: error[unknown-layer]: there is no layer class 'Dnse'\n"
        "  3 |   - Dnse: 3\n"
        "    |     ^^^^ did you mean 'Dense'?\n"
        "more: kbuild explain unknown-layer\n"
    )


def test_unknown_commands_and_options_in_a_process_of_their_own() -> None:
    assert (done := kbuild("trian", DIGITS)).returncode == 2
    assert "Traceback" not in done.stderr
    assert "train" in done.stderr


def test_results_go_to_stdout_alone() -> None:
    done = kbuild("summarize", DIGITS, "--json")
    assert done.returncode == 0
    assert done.stdout.startswith("{")
    assert not done.stderr


def test_a_traceback_only_with_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in inside("summarize", "missing.yaml")[2]
    code, _, err = inside("summarize", "missing.yaml", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.rstrip().endswith("there is no such file\nmore: kbuild explain file")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("a bug"), 1, "error: kbuild failed: RuntimeError: a bug; --debug shows where"),
        (InternalError("plan and model disagree"), 1, "error: plan and model disagree"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_fails_inside(error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("kbuild.plan.pipeline.compile_spec", fail)
    found, out, err = inside("summarize", DIGITS)
    assert (found, out) == (code, "")
    assert err.strip() == message
    if code == 1:
        assert "Traceback" in inside("summarize", DIGITS, "--debug")[2] or isinstance(error, MemoryError)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_help_has_an_example_and_fits_a_terminal(command: str | None) -> None:
    code, out, _ = inside(*([command] if command else []), "--help")
    assert code == 0
    assert re.search(r"For example:\s+kbuild \w+", out)
    assert "--install" not in out or command is None
    assert inside(*([command] if command else []), "-h")[1] == out


def test_colours_only_on_a_terminal_that_wants_them() -> None:
    assert ESCAPE not in kbuild("policies").stdout
    on_a_terminal = kbuild("policies", NO_COLOR="1", FORCE_COLOR="1").stdout
    assert not re.search(rf"{re.escape(ESCAPE)}[0-9;]*[34][0-9]", on_a_terminal)


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    command = f"'{sys.executable}' -m kbuild policies --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == "["
    assert not done.stderr


def test_letters_that_a_terminal_cannot_show_do_not_fail() -> None:
    done = kbuild("policies", "preact", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert not done.stderr


WITHOUT_TENSORFLOW = """
import contextlib, io, sys
from kbuild.cli.main import main
for arguments in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit:
            pass
loaded = {{name.split(".")[0] for name in sys.modules}}
print(sorted({{"tensorflow", "keras", "numpy", "matplotlib", "pydantic"}} & loaded))
"""


def test_looking_needs_no_tensorflow(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("layers: [Dnse]")
    commands = [["--help"], ["--version"], ["policies"], ["policies", "ic"], ["summarize", DIGITS]]
    commands += [["summarize", DIGITS, "--json"], ["summarize", DIGITS, "--format", "mermaid"]]
    commands += [["summarize", str(broken)], ["train", str(broken)], ["train", DIGITS, "--ordering", "W-W"], ["nope"]]
    commands += [[command, "--help"] for command in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW.format(commands=commands)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
