"""The run directory: made once, never reused, readable at every moment."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, TrainingError
from kbuild.train.files import naming_failures, write_json, write_text

#: The file that says a directory is a run of kbuild.
MARKER = "command.json"


@dataclass(frozen=True)
class RunDir:
    """Paths and writers of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

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
        """`history.csv`: one row per epoch."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["epoch", *columns])
        for number, row in enumerate(rows, 1):
            table.writerow([number, *(repr(float(row[name])) if name in row else "" for name in columns)])
        write_text(self.path / "history.csv", text.getvalue(), flush=False)

    def log(self, line: str) -> None:
        """Append a line to `log.txt`."""
        path = self.path / "log.txt"
        with naming_failures(path), path.open("a", encoding="utf-8") as stream:
            stream.write(line.rstrip("\n") + "\n")


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
        raise InputError(f"cannot make the run directory {where}: {error.strerror or error}") from error


def _exact(path: Path, overwrite: bool) -> Path:
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            raise InputError(f"{path} is a file; --run-dir names a directory")
        if any(path.iterdir()):
            if not overwrite:
                raise InputError(f"the run directory {path} exists and is not empty; --overwrite replaces a run")
            if path.is_symlink() or not is_run(path):
                raise InputError(f"{path} is not a run of kbuild; --overwrite replaces runs only, nothing was deleted")
            old = path.with_name(f".{path.name}.old-{os.getpid()}")
            os.replace(path, old)
            shutil.rmtree(old)
    path.mkdir(parents=True, exist_ok=True)
    return path


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


def environment() -> dict[str, Any]:
    """Versions, platform and devices; no names of hosts, users or directories."""
    from importlib import metadata

    versions: dict[str, str | None] = {}
    for package in ("kbuild", "tensorflow", "keras", "numpy", "pydantic", "pyyaml", "rich", "typer"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    devices: list[str] = []
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        for device in tf.config.list_physical_devices():
            details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
            devices.append(f"{device.device_type} {details.get('device_name', '')}".strip())
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "devices": devices,
        "versions": versions,
    }


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
    """
    try:
        run.log("")
    except TrainingError as error:
        raise InputError(str(error)) from error
