"""One small run to export, trained once; `W-A-D-N`, so that one normalization folds forward and one not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SPEC = """\
name: small
input: {shape: [8, 8, 1]}
ordering: {order: W-A-D-N, dropout: 0.2}
layers:
  - Rescaling: 0.0625
  - Conv2D: {filters: 4, kernel_size: 3, activation: relu}
  - MaxPooling2D
  - Flatten
  - Dense: {units: 16, activation: relu}
  - {Dense: 10, name: digit}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  epochs: 2
  batch_size: 100
"""


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import load_spec
    from kbuild.train.run import train

    folder = tmp_path_factory.mktemp("exported")
    (folder / "spec.yaml").write_text(SPEC)
    spec = load_spec(folder / "spec.yaml")
    result: Any = train(spec, plan_spec(spec), run_dir=folder / "run", quiet=True)
    return Path(result.run_dir)


@pytest.fixture
def a_run(exported_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to write into."""
    import shutil

    return Path(shutil.copytree(exported_run, tmp_path / "run"))
