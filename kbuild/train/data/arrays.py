"""The examples of a training: what a source yields, and what the trainer takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from kbuild.spec.classes import ClassNames
from kbuild.train.data.seen import Seen

#: Bytes of the parts in which rows are looked at one after the other.
PART_BYTES = 16 * 2**20


class Rows(Protocol):
    """Rows that are read when they are asked for: a file, a folder of images. Threads may read at the same time.

    Attributes:
        shape: rows first; an axis that differs from row to row cannot be.
        dtype: of what `__getitem__` gives.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray:
        """The rows of a slice or an integer array, as a new array.

        Raises:
            TrainingError: the file is not what it was when it was checked; the message names file and row.
        """


#: An array in memory, or rows that are read.
Values = np.ndarray | Rows

#: Layer name → `Values`. A source that knows no layer names uses the single key "".
Named = Mapping[str, Any]


@dataclass(frozen=True)
class Picked:
    """Some of the rows of another."""

    rows: Rows
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.rows[self.index[index]]


@dataclass(frozen=True)
class Changed:
    """Rows of another, each read passed through a function of whole batches.

    Attributes:
        shape, dtype: of the result.
    """

    rows: Rows
    change: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.change(self.rows[index])


def is_resident(values: Values) -> bool:
    """Whether values are an array in memory (a mapped file is not)."""
    return isinstance(values, np.ndarray) and not isinstance(values, np.memmap)


def changed(values: Values, change: Callable[[np.ndarray], np.ndarray]) -> Values:
    """`change` applied: at once to an array, at every read to rows."""
    if is_resident(values):
        return change(values)  # type: ignore[arg-type]
    sample = change(values[:1])
    return Changed(values, change, (len(values), *sample.shape[1:]), sample.dtype)


def parts(values: Values) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) one after the other, each part of about `PART_BYTES`."""
    row = max(1, int(np.prod(values.shape[1:], dtype="int64")) * values.dtype.itemsize)
    step = max(1, PART_BYTES // row)
    for start in range(0, len(values), step):
        yield start, values[start : start + step]


def row_indices(index: Any, rows: int) -> np.ndarray:
    """A slice or an integer array as an array of row numbers."""
    return np.arange(*index.indices(rows)) if isinstance(index, slice) else np.asarray(index)


@dataclass(frozen=True)
class Split:
    """Examples and their targets, one row each.

    Attributes:
        x: input layer → values of shape (rows, ...).
        y: output layer → values of shape (rows,) or (rows, ...).
        weight: output layer ("" for all outputs) → weights of the examples in loss and weighted metrics, (rows,).
    """

    x: Named
    y: Named
    weight: Named | None = None

    @property
    def rows(self) -> int:
        return len(next(iter(self.x.values())))

    @property
    def sides(self) -> dict[str, Named]:
        """ "x", "y" and, where there are weights, "weight"."""
        found = {"x": self.x, "y": self.y}
        return found if self.weight is None else {**found, "weight": self.weight}

    @property
    def resident(self) -> bool:
        """Whether all values are arrays in memory."""
        return all(is_resident(values) for side in self.sides.values() for values in side.values())

    def take(self, index: Any) -> Split:
        """The rows at `index` (a slice or an integer array); nothing is read of what is not in memory."""
        return Split(**{side: {k: _take(v, index) for k, v in named.items()} for side, named in self.sides.items()})

    def read(self, index: Any) -> Split:
        """The rows at `index` as arrays in memory."""
        return Split(**{side: {k: v[index] for k, v in named.items()} for side, named in self.sides.items()})


def _take(values: Values, index: Any) -> Values:
    return values[index] if is_resident(values) else Picked(values, row_indices(index, len(values)))


@dataclass(frozen=True)
class Raw:
    """What a source yields, before anything is compared with the plan.

    Attributes:
        origin: what messages call the source: a path, or "digits".
        names: "x_train"/"y_train"/... of each array, as messages show it: ("train", "x", layer) → array name. A source
            whose x and y have no names gives none for them.
        classes: output → names of its classes by number, where the source knows them; "" for the only output.
        places: "train"/"test" → what a row is called in messages ("people.csv, row 17"), where it has a place of its
            own. Rows are numbered from 0 in the order of the split.
        notes: for the log.
        hint: what to do where images have other channels than an input.
        files: what was read, as it was before that.
    """

    origin: str
    train: Split
    test: Split | None
    names: dict[tuple[str, str, str], str] = field(default_factory=dict)
    classes: ClassNames = field(default_factory=dict)
    places: Mapping[str, Callable[[int], str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    hint: str = ""
    files: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Data:
    """Examples that fit the plan.

    Attributes:
        train: examples to learn from.
        validation: None where `validation` is 0.
        test: None where the source has none.
        notes: what was done to the arrays and how they were split, for the log.
        classes: output layer → names of its classes by number, where they are known.
        files: what was read, as it was before that.
    """

    train: Split
    validation: Split | None
    test: Split | None
    notes: tuple[str, ...] = ()
    classes: ClassNames = field(default_factory=dict)
    files: tuple[Seen, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """Name → split, for those there are."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}
