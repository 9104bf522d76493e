"""Data files that change or vanish while a run trains: what was read goes on, and it is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import TrainingError
from kbuild.train.data import memory
from kbuild.train.data.arrays import Data
from kbuild.train.data.seen import differences, look
from kbuild.train.reproduce import reproduce
from kbuild.train.run import train
from kbuild.train.status import Status
from tests.train import test_large_arrays as arrays
from tests.train.test_fingerprint import SOURCES

TEXT = arrays.SPEC.replace("DATA", "{npz: a.npz}").replace("validation: 0.25", "validation: held.npz")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The training data and the validation data of TEXT."""
    made = arrays.arrays()
    data, held = tmp_path / "a.npz", tmp_path / "held.npz"
    np.savez(data, **made)
    np.savez(held, x=made["x_test"], y=made["y_test"])
    return data, held


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has something done when the first epoch ends."""

    def arrange(action: Callable[[], Any]) -> None:
        plain = Status.on_epoch

        def on_epoch(self: Status, history: Any) -> None:
            plain(self, history)
            if len(history) == 1:
                action()

        monkeypatch.setattr(Status, "on_epoch", on_epoch)

    return arrange


def rewrite(path: Path) -> None:
    """Other bytes in the same file."""
    content = bytearray(path.read_bytes())
    content[-500:-400] = bytes(100)
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # clocks of file systems may tick too slowly


def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text()))


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_says_its_files(loaded: Callable[..., Data], tmp_path: Path, source: str) -> None:
    text, write = SOURCES[source]
    write(tmp_path)
    written = {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    seen = loaded(text).files
    assert {files.path(at) for files in seen for at in range(len(files.names))} == written
    assert differences(seen) == []
    changed, gone = min(written), max(written)
    os.utime(changed, ns=(0, 1))
    said = {changed: f"{changed} was changed", gone: f"{gone} is not there any more"}  # one file may be both
    Path(gone).unlink()
    assert set(differences(seen)) == set(said.values())


def test_many_files_are_counted(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(30)]
    for name in names:
        (tmp_path / name).touch()
    seen = look(names, tmp_path)
    for name in names:
        (tmp_path / name).unlink()
    said = differences([seen, seen])
    assert len(said) == 21
    assert said[-1] == "so it is with 10 more files"


def test_data_in_memory_are_trained_on_to_the_end(
    compiled: Callable[..., Any],
    files: tuple[Path, Path],
    meanwhile: Callable[[Callable[[], Any]], None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data, held = files
    spec, plan = compiled(TEXT)
    meanwhile(lambda: (rewrite(data), held.unlink()))
    result = train(spec, plan, run_dir=tmp_path / "run")
    assert result.epochs == 2
    said = [f"{data} was changed", f"{held} is not there any more"]
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(f"warning: {said[0]}; {said[1]}. The run used what it had read before; `--resume`")
    assert line in (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert record(tmp_path / "run")["state"] == "finished"
    assert record(tmp_path / "run")["data_changed"] == said


def test_data_that_are_read_on_the_way_fail(
    compiled: Callable[..., Any],
    files: tuple[Path, Path],
    meanwhile: Callable[[Callable[[], Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    data, _ = files
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0)
    spec, plan = compiled(TEXT)
    meanwhile(lambda: rewrite(data))
    with pytest.raises(TrainingError, match=r"a\.npz was changed while it was in use"):
        train(spec, plan, epochs=9, run_dir=tmp_path / "run", quiet=True)
    assert record(tmp_path / "run")["state"] == "failed"
    assert "a.npz was changed while it was in use" in record(tmp_path / "run")["error"]


@pytest.mark.slow
@pytest.mark.parametrize("share", [memory.RESIDENT_SHARE, 0])
def test_a_file_that_is_replaced_changes_nothing(
    compiled: Callable[..., Any],
    files: tuple[Path, Path],
    meanwhile: Callable[[Callable[[], Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    share: float,
) -> None:
    """The run has the old file open, or in memory: it ends with the weights it would have had, and says so."""
    data, _ = files
    monkeypatch.setattr(memory, "RESIDENT_SHARE", share)
    spec, plan = compiled(TEXT)
    kept = data.read_bytes()

    def replaced() -> None:
        other = tmp_path / "other.npz"
        other.write_bytes(kept)
        rewrite(other)
        os.replace(other, data)

    meanwhile(replaced)
    train(spec, plan, run_dir=tmp_path / "run", quiet=True)
    assert record(tmp_path / "run")["data_changed"] == [f"{data} was changed"]
    monkeypatch.undo()
    data.write_bytes(kept)
    found = reproduce(tmp_path / "run", quiet=True)
    assert found.equal, found.text()
    rewritten = dict(np.load(data))
    rewritten["x_train"] = rewritten["x_train"][::-1]
    np.savez(data, **rewritten)
    found = reproduce(tmp_path / "run", quiet=True)
    assert found.differences["data"] == ["train holds other values in its 100 rows"]
