"""`-o` of every command that writes one file: whole or not at all, and never over what is there unasked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.test_cli_errors import inside

MODEL = {
    "class_name": "Sequential",
    "config": {
        "name": "m",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "in"}},
            {"class_name": "Dense", "config": {"name": "out", "units": 2}},
        ],
    },
}
SPEC = "input: {shape: [4]}\nlayers:\n  - Dense: 3\n"
COMMANDS = [["summarize", "m.yaml"], ["summarize", "m.yaml", "--json"], ["eject", "m.yaml"]]
COMMANDS += [["import", "m.json", "--quiet"], ["schema"], ["init"]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(SPEC)
    (tmp_path / "m.json").write_text(json.dumps(MODEL))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_it_is_written_whole_or_not_at_all(command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder / "new" / "out.txt"
    assert inside(*command, "-o", str(target))[:2] == (0, f"{target}\n")
    text = target.read_text(encoding="utf-8")
    assert len(text) > len(SPEC)
    assert inside(*command, "-o", str(target))[2] == f"error: {target} exists; --overwrite replaces it\n"
    target.write_text("before")
    target.chmod(0o640)

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        patch.setattr(Path, "replace", fails)
        code, _, err = inside(*command, "-o", str(target), "--overwrite")
    assert (code, err) == (1, f"error: cannot write {target}: No space left on device\n")
    assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("out.txt", "before")]
    assert inside(*command, "-o", str(target), "--overwrite")[0] == 0
    assert (target.read_text(encoding="utf-8"), target.stat().st_mode & 0o777) == (text, 0o640)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_links_and_pipes_stay_what_they_are(command: list[str], folder: Path) -> None:
    (folder / "real.txt").write_text("before")
    (folder / "link.txt").symlink_to("real.txt")
    assert inside(*command, "-o", "link.txt", "--overwrite")[0] == 0
    assert (folder / "link.txt").is_symlink()
    assert (folder / "real.txt").read_text(encoding="utf-8") != "before"
    assert inside(*command, "-o", os.devnull, "--overwrite")[0] == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_cannot_be_written_is_told(command: list[str], folder: Path) -> None:
    code, _, err = inside(*command, "-o", "m.yaml/out.txt")
    assert (code, err.startswith("error: cannot write m.yaml/out.txt: ")) == (2, True)
    (folder / "there").mkdir()
    if command[0] not in ("eject", "init"):  # these know how to call the file
        code, _, err = inside(*command, "-o", "there", "--overwrite")
        assert (code, err) == (2, "error: there is a directory; name the file to write\n")
