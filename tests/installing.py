"""Packages as an installer leaves them, and kbuild in a process that finds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MLP = "input: {shape: [8]}\nlayers:\n  - Dense: {units: 16, activation: relu}\n  - Dense: 3\n"
#: What the module of a package with a layer begins with.
LAYER = "from kbuild.catalog.custom import CustomLayer\n"


def python(words: list[str], folder: Path, *sites: Path, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *sites])), "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def kbuild(folder: Path, *words: str | Path, sites: tuple[Path, ...] = (), timeout: int = 120):
    """The command line in a process of its own: exit code, stdout, stderr."""
    done = python(["-m", "kbuild", *map(str, words)], folder, *sites, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def package(folder: Path, name: str, points: str, modules: dict[str, str]) -> Path:
    """What an installer would have written for a package."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return folder


def spec(folder: Path, text: str) -> str:
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return "model.yaml"
