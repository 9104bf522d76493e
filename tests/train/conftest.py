"""Fixtures of the training tests: one small run, trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbuild.plan.losses import resolve_losses
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import load_spec
from kbuild.train.data.arrays import Data
from kbuild.train.data.load import load_data

DIGITS = """\
name: small
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - Rescaling: 0.0625
  - Flatten
  - Dense: {units: 32, activation: relu}
  - {Dense: 10, name: out}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  epochs: 2
  batch_size: 100
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """Text and overrides → (spec, plan)."""

    def make(text: str = DIGITS, *overrides: str) -> tuple[Any, Any]:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        spec = load_spec(path, overrides=overrides)
        return spec, plan_spec(spec)

    return make


@pytest.fixture
def loaded(compiled: Callable[..., tuple[Any, Any]]) -> Callable[..., Data]:
    """Text and overrides → the data of the spec."""

    def read(text: str = DIGITS, *overrides: str) -> Data:
        spec, plan = compiled(text, *overrides)
        return load_data(spec.train, plan, resolve_losses(spec.train, plan), spec.folder, spec.train.seed)

    return read


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A `RunResult` of the small spec."""
    from kbuild.train.run import train

    folder = tmp_path_factory.mktemp("small")
    (folder / "spec.yaml").write_text(DIGITS)
    spec = load_spec(folder / "spec.yaml")
    return train(
        spec, plan_spec(spec), run_dir=folder / "run", quiet=True, command=("kbuild", "train"), summary="table"
    )
