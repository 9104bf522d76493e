"""The directory of a study: made once, readable at every moment, and all that its workers need."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kbuild.errors import InputError
from kbuild.files import write_json, write_text
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.plan.sameness import fingerprint
from kbuild.spec.load import load_spec
from kbuild.spec.model import Spec
from kbuild.study.design import Arm, Design
from kbuild.train.environment import ENVIRONMENT
from kbuild.train.fingerprint import Fingerprints
from kbuild.train.lock import LOCK, holder, is_held
from kbuild.train.rundir import read_json

MARKER = "study.yaml"
#: Rows and a hash of every split, as the spec's own seed draws them.
DATA = "data.json"
#: The key of ENVIRONMENT for what was not as in the beginning when a study went on.
LATER = "later"


@dataclass(frozen=True)
class Folder:
    """Paths and readers of one study.

    Attributes:
        path: the directory: `study.yaml`, `spec.yaml` as written, `resolved.yaml` with `--set` in it, `results.csv`,
            `results.json`, `report.html`, `trials/`, `figures/`.
    """

    path: Path

    def write(self, spec: Spec, design: Design, options: list[str]) -> None:
        """What is known before anything runs; `study.yaml` last, for it says that the directory is a study."""
        (self.path / "trials").mkdir(parents=True, exist_ok=True)
        write_text(self.path / "spec.yaml", spec.source.text)
        write_text(self.path / "resolved.yaml", spec.resolved_text())
        folder = os.path.relpath(spec.folder.resolve(), self.path.resolve())
        write_json(self.path / "command.json", {"kbuild_study": True, "options": options, "data_folder": folder})
        write_text(self.path / MARKER, design.to_yaml())

    def design(self) -> Design:
        """The design, as it was fixed.

        Raises:
            InputError: the directory is no study.
        """
        try:
            return Design.from_yaml((self.path / MARKER).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{self.path} is no study of kbuild: {MARKER} cannot be read ({error.strerror})"
            ) from error
        except InputError as error:
            raise InputError(f"{self.path / MARKER} is {error}") from error

    def command(self) -> dict[str, Any]:
        """What `command.json` says; empty where it cannot be read."""
        return self._read("command.json")

    def environment(self) -> dict[str, Any]:
        """What the first worker ran on, and under LATER what was otherwise later; empty where it cannot be read."""
        return self._read(ENVIRONMENT)

    def rows(self) -> dict[str, int]:
        """Split → its examples; empty where that was not kept."""
        splits = {name: one.get("rows") for name, one in self._read(DATA).items() if isinstance(one, dict)}
        return {name: rows for name, rows in splits.items() if isinstance(rows, int)}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.path / name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def compiled(self, design: Design, arm: Arm) -> tuple[Spec, Plan]:
        """An arm's spec and plan, from the study's own copy of the spec; data are found where the first spec lies.

        Raises:
            InputError: this is not the model that the study was begun with (another version of kbuild, an edited copy).
        """
        spec = load_spec(self.path / "resolved.yaml", arm.ordering, arm.overrides)
        plan = plan_spec(spec)
        settings = design.settings(spec)
        if arm.fingerprint not in ("", fingerprint(plan, settings)):
            raise InputError(f"{self.path} was begun with another model under {arm.label}; start a new study")
        folder = self.path / str(self.command().get("data_folder", "."))
        return replace(spec, path=folder / "spec.yaml"), plan


def make_folder(name: str, run_dir: Path | None, overwrite: bool) -> Folder:
    """The directory of a new study.

    Args:
        run_dir: exactly this one; it must not exist or be empty, unless `overwrite`. None: `runs/NAME-study-DATE-TIME`.

    Raises:
        InputError: it exists and may not be replaced, or cannot be made.
    """
    try:
        if run_dir is None:
            stem = re.sub(r"[^\w.-]+", "_", name).strip("._") or "study"
            base = Path("runs") / f"{stem}-study-{datetime.now():%Y%m%d-%H%M%S}"
            path = next(
                p for p in (base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 1000))) if not p.exists()
            )
            path.mkdir(parents=True)
            return Folder(path)
        if run_dir.exists() and (not run_dir.is_dir() or any(one.name != LOCK for one in run_dir.iterdir())):
            _replace(run_dir, overwrite)
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = error.filename or run_dir
        raise InputError(f"cannot make the study's directory {where}: {error.strerror or error}") from error
    return Folder(run_dir)


def _replace(path: Path, overwrite: bool) -> None:
    if not path.is_dir():
        raise InputError(f"{path} is a file; --run-dir names a directory")
    if not overwrite:
        raise InputError(f"{path} exists and is not empty; --resume goes on with a study, --overwrite replaces it")
    if path.is_symlink() or not (path / MARKER).is_file():
        raise InputError(f"{path} is not a study of kbuild; --overwrite replaces studies only, nothing was deleted")
    if is_held(path):
        raise InputError(f"{path} is in use: {holder(path)}; nothing was deleted")
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    os.replace(path, old)
    shutil.rmtree(old)


def open_folder(path: Path) -> Folder:
    """An existing study.

    Raises:
        InputError: it is none.
    """
    if not path.is_dir():
        raise InputError(f"there is no study directory {path}")
    if not (path / MARKER).is_file():
        raise InputError(f"{path} is not a study of kbuild (it has no {MARKER})")
    return Folder(path)


def check_same(asked: Design, begun: Design, path: Path) -> None:
    """A study goes on as it was designed: more seeds after a look at the results would change what its tests mean.

    Raises:
        InputError: saying what differs.
    """
    differs = [
        name for name in ("arms", "seeds", "baseline", "metric", "direction", "epochs", "batch_size", "alpha", "target")
        if getattr(asked, name) != getattr(begun, name)
    ]  # fmt: skip
    if differs:
        raise InputError(
            f"{path} was designed otherwise ({', '.join(differs)}), and a design is fixed before the runs; "
            "begin a new study in another directory"
        )


def check_data(folder: Folder, hashes: Fingerprints) -> None:
    """A study goes on with the data it was begun with: pairs of trials on different data compare nothing.

    Raises:
        InputError: naming the splits that are not what they were.
    """
    path = folder.path / DATA
    if path.exists():
        try:
            hashes.check(read_json(path))
        except InputError as error:
            raise InputError(f"{folder.path}: {error}; put them back, or begin a new study") from error
