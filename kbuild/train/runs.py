"""The runs in a folder: what each trained, how far it is, how it ended. Small files are read, and no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, KbuildError
from kbuild.train.lock import is_held
from kbuild.train.rundir import MARKER, RunDir, is_run, is_unbegun, read_json

#: Files of which one says that a directory without `command.json` was a run once.
_TRACES = ("metrics.json", "plan.json", "resolved.yaml", "checkpoints", "history.csv")


@dataclass(frozen=True)
class Listed:
    """A run as `kbuild runs` lists it.

    Attributes:
        path: its directory.
        state: "finished", "interrupted" (a killed one too), "failed", "running" or "damaged".
        started: in UTC; the directory's own time where the run does not say.
        spec: the model's name.
        ordering: {"policy", "order"}.
        epochs: finished ones, and how many there are to be.
        best: {"epoch", metric: value}: the epoch of the lowest validation loss (or loss).
        error: why it failed or was interrupted, or what is damaged.
    """

    path: Path
    state: str
    started: str
    spec: str | None = None
    ordering: dict[str, Any] | None = None
    epochs: int = 0
    of_epochs: int | None = None
    best: dict[str, float] | None = None
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {**asdict(self), "path": str(self.path)}


def list_runs(folder: str | Path) -> list[Listed]:
    """The runs in a folder, in the order in which they were started; a run's own directory gives that run.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    try:
        inside = [folder] if is_run(folder) else [path for path in sorted(folder.iterdir()) if _looks_like_a_run(path)]
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted((_listed(path) for path in inside), key=lambda one: one.started)


def _looks_like_a_run(path: Path) -> bool:
    try:
        if path.name.startswith(".") or not path.is_dir():
            return False
        is_other = (path / "study.yaml").exists()
        return not is_other and (is_run(path) or is_unbegun(path) or any((path / name).exists() for name in _TRACES))
    except OSError:
        return True


def _listed(path: Path) -> Listed:
    try:
        started = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")
    except OSError:
        started = ""
    try:
        return _read(path, started)
    except (KbuildError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = str(error) if isinstance(error, KbuildError) else f"{type(error).__name__}: {error}"
        return Listed(path, "damaged", started, error=why)


def _read(path: Path, started: str) -> Listed:
    run, held = RunDir(path), is_held(path)
    if not is_run(path):
        if is_unbegun(path):
            return Listed(path, "running" if held else "interrupted", started, error="it had not begun to train")
        raise InputError(f"it has no {MARKER}" if not (path / MARKER).exists() else f"its {MARKER} cannot be read")
    command, plan = read_json(path / MARKER), read_json(path / "plan.json")
    metrics = read_json(path / "metrics.json") if (path / "metrics.json").exists() else {"state": "running"}
    state, error = str(metrics["state"]), str(metrics.get("error", ""))
    if held:
        state = "running"
    elif state == "running":
        state, error = "interrupted", "its process is gone"
    history = run.read_history()
    ordering = {name: plan["ordering"][name] for name in ("policy", "order")}
    epochs = int(command["settings"]["epochs"])
    started = str(metrics.get("started", started))
    return Listed(path, state, started, str(plan["name"]), ordering, len(history), epochs, _best(history), error)


def _best(history: list[dict[str, float]]) -> dict[str, float] | None:
    watched = "val_loss" if any("val_loss" in row for row in history) else "loss"
    rows = [(row[watched], number) for number, row in enumerate(history, 1) if watched in row]
    if not rows:
        return None
    _, epoch = min(rows)
    row = history[epoch - 1]
    shown = {name: value for name, value in row.items() if name.startswith("val_") or watched == "loss"}
    shown.pop("learning_rate", None)
    return {"epoch": epoch, **shown}


def render(runs: list[Listed]) -> str:
    """A table for people."""
    rows = [["run", "spec", "ordering", "epochs", "best", "state"]]
    for one in runs:
        ordering = one.ordering or {}
        epochs = f"{one.epochs}/{one.of_epochs}" if one.of_epochs is not None else ""
        state = f"{one.state}: {_short(one.error)}" if one.error else one.state
        best = _best_text(one.best)
        rows.append(
            [str(one.path), one.spec or "", ordering.get("policy") or ordering.get("order") or "", epochs, best, state]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _best_text(best: dict[str, float] | None) -> str:
    if best is None:
        return ""
    values = {name: value for name, value in best.items() if name != "epoch"}
    name = next((name for name in values if name.endswith("accuracy")), next(iter(values)))
    return f"{name} {values[name]:.4f} ({best['epoch']})"


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 60 else line[:57] + "..."


def to_json(runs: list[Listed]) -> str:
    """A JSON list."""
    return json.dumps([one.to_dict() for one in runs], indent=1)
