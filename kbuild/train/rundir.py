"""The run directory: made once, never reused, readable at every moment."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, TrainingError
from kbuild.files import DiskFull, naming_failures, refusal, write_json, write_text
from kbuild.train.lock import LOCK, holder, is_held

#: The file that says a directory is a run of kbuild.
MARKER = "command.json"

#: The last state of the training, in `checkpoints/`.
LAST = Path("last", "state.npz")

#: What is written before it, and the names under which files are written before they are renamed.
_FIRST = ("spec.yaml", "resolved.yaml", "plan.json", "summary.txt", "log.txt", "logs")
_LEFT_OVER = re.compile(r"\.(.+\.(tmp|old)-\d+|\d+-.+)$")


@dataclass(frozen=True)
class RunDir:
    """Paths and writers of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        return self.checkpoints / LAST

    @property
    def saved_model(self) -> Path:
        return self.path / "export" / "saved_model"

    @property
    def parity(self) -> Path:
        return self.path / "export" / "parity.json"

    def write(self, name: str, content: str | dict[str, Any]) -> None:
        """Write a text, or data as JSON, whole."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content) if isinstance(content, str) else write_json(path, content)

    def history(self, rows: Sequence[dict[str, float]]) -> None:
        """Write `history.csv` anew: one row per epoch."""
        columns = _columns(rows)
        text = "".join(_csv_line(line) for line in [["epoch", *columns], *_csv_rows(rows, columns, 1)])
        write_text(self.path / "history.csv", text)

    def append_history(self, rows: Sequence[dict[str, float]]) -> None:
        """Append the last of the rows to `history.csv` and flush it; a row that cannot be written leaves no part."""
        path = self.path / "history.csv"
        columns = _header(path)[1:]
        if len(rows) < 2 or not set(rows[-1]) <= set(columns):
            self.history(rows)
            return
        with naming_failures(path), path.open("ab", buffering=0) as stream:
            size = stream.tell()
            line = "".join(_csv_line(line) for line in _csv_rows(rows[-1:], columns, len(rows))).encode()
            try:
                if stream.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                stream.truncate(size)
                raise

    def read_history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`; none where there is no such file. A last line that was cut off is left out.

        Raises:
            InputError: it is damaged.
        """
        path = self.path / "history.csv"
        try:
            text = path.read_text(encoding="utf-8")
            header, *lines = csv.reader(text[: text.rfind("\n") + 1].splitlines())
            return [
                {name: float(value) for name, value in zip(header[1:], line[1:], strict=True) if value}
                for line in lines
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"cannot read {path}: {error}") from error

    def log(self, line: str) -> None:
        """Append a line to `log.txt`."""
        path = self.path / "log.txt"
        with naming_failures(path), path.open("a", encoding="utf-8") as stream:
            stream.write(line.rstrip("\n") + "\n")


def _columns(rows: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return next(csv.reader(stream), [])
    except FileNotFoundError:
        return []


def _csv_rows(rows: Sequence[dict[str, float]], columns: Sequence[str], first: int) -> Iterator[list[Any]]:
    for number, row in enumerate(rows, first):
        yield [number, *(repr(float(row[name])) if name in row else "" for name in columns)]


def _csv_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def make_run_dir(
    model: str, run_dir: str | Path | None = None, name: str | None = None, overwrite: bool = False
) -> RunDir:
    """Create the directory of a new run.

    Args:
        model: the model's name, the first part of the directory's name unless `name` is given.
        run_dir: exactly this directory; it must not exist or be empty, unless `overwrite`.
        name: the directory's name under `runs/`, before the time.
        overwrite: replace a directory that is a run of kbuild. Nothing else is ever deleted.

    Raises:
        InputError: the directory exists and may not be replaced, or cannot be made.
        TrainingError: the disk is full.
    """
    try:
        if run_dir is not None:
            return RunDir(_exact(Path(run_dir), overwrite))
        stem = re.sub(r"[^\w.-]+", "_", name or model).strip("._") or "run"
        base = Path("runs") / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
        for suffix in range(1, 1000):
            path = base if suffix == 1 else base.with_name(f"{base.name}-{suffix}")
            try:
                path.mkdir(parents=True)
                return RunDir(path)
            except FileExistsError:
                if not path.is_dir():
                    raise
        raise InputError(f"too many runs named {base}")
    except OSError as error:
        where = error.filename or run_dir or "runs"
        raise refusal(f"cannot make the run directory {where}", error) from error


def _exact(path: Path, overwrite: bool) -> Path:
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            raise InputError(f"{path} is a file; --run-dir names a directory")
        if any(path.iterdir()) and not is_unbegun(path):
            if not overwrite:
                raise InputError(f"the run directory {path} exists and is not empty; --overwrite replaces a run")
            if path.is_symlink() or not is_run(path):
                raise InputError(f"{path} is not a run of kbuild; --overwrite replaces runs only, nothing was deleted")
            if is_held(path):
                raise InputError(f"{path} is in use: {holder(path)}; nothing was deleted")
            old = path.with_name(f".{path.name}.old-{os.getpid()}")
            os.replace(path, old)
            shutil.rmtree(old)
    path.mkdir(parents=True, exist_ok=True)
    return path


def is_unbegun(path: Path) -> bool:
    """Whether a directory holds no more than a run that was killed before it began: nothing that is missed."""
    names = {entry.name for entry in path.iterdir()}
    return LOCK in names and all(name in _FIRST or _LEFT_OVER.match(name) for name in names - {LOCK})


def clean(run: RunDir) -> None:
    """Remove what a killed process left half-written."""
    for folder in (run.path, run.checkpoints, run.state.parent, run.path / "export"):
        for path in folder.glob(".*") if folder.is_dir() else ():
            if _LEFT_OVER.match(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def is_run(path: Path) -> bool:
    """Whether a directory is a run of kbuild: its `command.json` says so."""
    try:
        data = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("kbuild_run") is True


def open_run(path: str | Path) -> RunDir:
    """An existing run.

    Raises:
        InputError: it is not there, or is not a run of kbuild.
    """
    path = Path(path)
    if not path.is_dir():
        if path.exists():
            raise InputError(f"{path} is a file; a run is the directory that `kbuild train` prints")
        raise InputError(f"there is no run directory {path}")
    if not is_run(path):
        raise InputError(f"{path} is not a run of kbuild (it has no {MARKER})")
    return RunDir(path)


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        InputError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"the run has no {path.name}: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self._begun, 3)


def check_writable(run: RunDir) -> None:
    """Write the first file now rather than fail after the data are read.

    Raises:
        InputError: the directory cannot be written to.
        TrainingError: the disk is full.
    """
    try:
        run.log("")
    except DiskFull:
        raise
    except TrainingError as error:
        raise InputError(str(error)) from error
