"""What rules know of a training: batch size, steps, optimizer, losses. Nothing is loaded; of arrays only the header."""

from __future__ import annotations

import ast
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.catalog import facts
from kbuild.spec.train import TrainSettings

#: Training examples of Keras' data sets as Keras splits them.
KERAS_ROWS = {
    "mnist": 60_000,
    "fashion_mnist": 60_000,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "boston_housing": 404,
    "california_housing": 16_512,
}


#: The data set that ships with kbuild.
_DIGITS = Path(__file__).parent.parent / "data" / "digits.npz"


@dataclass(frozen=True)
class Training:
    """A training's settings, and how many examples it sees.

    Attributes:
        settings: the `train` section.
        rows: training examples without the validation share; None where the data cannot be found.
    """

    settings: TrainSettings
    rows: int | None = None

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole training."""
        if self.rows is None:
            return None
        return self.settings.epochs * math.ceil(self.rows / self.settings.batch_size)

    @property
    def weight_decay(self) -> float:
        """The optimizer's decoupled weight decay; AdamW's default counts."""
        optimizer = self.settings.optimizer
        signature = facts.signature("optimizer", optimizer.class_name)
        default = signature.defaults.get("weight_decay") if signature else None
        return float(optimizer.config.get("weight_decay", default) or 0)


def training_of(settings: TrainSettings, folder: Path | None) -> Training:
    """The settings with the number of examples; `folder` is what paths in the spec are relative to."""
    rows = _rows(settings, folder)
    share = settings.validation
    if rows is not None and isinstance(share, float) and share > 0:
        rows -= min(rows - 1, max(1, round(rows * share)))
    return Training(settings, rows)


def _rows(settings: TrainSettings, folder: Path | None) -> int | None:
    data = settings.data
    if data.kind == "keras":
        return KERAS_ROWS.get(data.source)
    if data.kind == "digits":
        return header_rows(_DIGITS, "x_train")
    if data.kind != "npz" or folder is None:
        return None
    name: Any = data.options.get("x", "x_train")
    if isinstance(name, dict):
        name = next(iter(name.values()), "x_train")
    return header_rows(folder / data.source, name)


def header_rows(path: Path, array: str) -> int | None:
    """The length of an array in an .npz file, from its header alone; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{array}.npy") as stream:
            magic = stream.read(8)
            if magic[:6] != b"\x93NUMPY":
                return None
            size = int.from_bytes(stream.read(2 if magic[6] == 1 else 4), "little")
            header = ast.literal_eval(stream.read(min(size, 65_536)).decode("latin1"))
        return int(header["shape"][0])
    except (OSError, KeyError, ValueError, SyntaxError, IndexError, TypeError, zipfile.BadZipFile):
        return None
