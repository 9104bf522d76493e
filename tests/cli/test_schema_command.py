"""`kbuild schema`: to stdout or to a file."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from kbuild.cli.main import main
from kbuild.spec.schema import schema


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as stop:
        main(["schema", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.getvalue()


def test_to_stdout() -> None:
    code, out = run()
    assert (code, json.loads(out)) == (0, schema())


def test_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kbuild.schema.json"
    assert run("-o", str(path)) == (0, f"{path}\n")
    assert json.loads(path.read_text("utf-8")) == schema()
    code, out = run("-o", str(path))
    assert (code, "--overwrite replaces it" in out) == (2, True)
    assert run("-o", str(path), "--overwrite")[0] == 0
    assert run("-o", str(path / "where.json"))[0] == 2
