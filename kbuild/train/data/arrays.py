"""The arrays of a training: what a source yields, and what the trainer takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kbuild.spec.classes import ClassNames

#: Layer name → array. A source that knows no layer names uses the single key "".
Named = dict[str, np.ndarray]


@dataclass(frozen=True)
class Split:
    """Examples and their targets, one row each.

    Attributes:
        x: input layer → array of shape (rows, ...).
        y: output layer → array of shape (rows,) or (rows, ...).
    """

    x: Named
    y: Named

    @property
    def rows(self) -> int:
        return len(next(iter(self.x.values())))

    def take(self, index: Any) -> Split:
        """The rows at `index` (a slice or an integer array)."""
        return Split({k: v[index] for k, v in self.x.items()}, {k: v[index] for k, v in self.y.items()})


@dataclass(frozen=True)
class Raw:
    """What a source yields, before anything is compared with the plan.

    Attributes:
        origin: what messages call the source: a path, or "digits".
        names: "x_train"/"y_train"/... of each array, as messages show it: ("train", "x", layer) → array name.
        classes: output → names of its classes by number, where the source knows them; "" for the only output.
    """

    origin: str
    train: Split
    test: Split | None
    names: dict[tuple[str, str, str], str]
    classes: ClassNames = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """Arrays that fit the plan.

    Attributes:
        train: examples to learn from.
        validation: None where `validation` is 0.
        test: None where the source has none.
        notes: what was done to the arrays and how they were split, for the log.
        classes: output layer → names of its classes by number, where they are known.
    """

    train: Split
    validation: Split | None
    test: Split | None
    notes: tuple[str, ...] = ()
    classes: ClassNames = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Split]:
        """Name → split, for those there are."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}
