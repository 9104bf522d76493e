"""Tests of an extra of kbuild: skipped where a user has not installed it, never in the environment of the lock."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from kbuild.train.doctor import EXTRAS


def needs(extra: str) -> None:
    """Skip a test where a package of the extra is missing; fail it in `.venv`, which holds the whole lock."""
    missing = []
    for package in EXTRAS[extra]:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if not missing:
        return
    told = f"{', '.join(missing)} not installed: pip install 'kbuild[{extra}]'"
    if Path(sys.prefix) == Path(__file__).parents[1] / ".venv":
        pytest.fail(f"{told}; requirements.lock has it")
    pytest.skip(told)
