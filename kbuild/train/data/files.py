"""Rows of an array that stays in its file.

The rows are read, not mapped: a mapping of a file that is cut short ends the process (SIGBUS), and counts as memory of
the process, so that it cannot be had at all under a limit smaller than the file.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import TrainingError
from kbuild.train.data.arrays import row_indices
from kbuild.train.data.seen import changed_in_use


class FileRows:
    """An array in C order in a part of a file.

    Args:
        offset: bytes before the first row.
        shape: rows first.
        dtype: as stored; rows come in the machine's byte order.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.offset, self.shape, self.stored = path, offset, shape, dtype
        self.dtype = dtype.newbyteorder("=")
        self.row_bytes = int(np.prod(shape[1:], dtype="int64")) * dtype.itemsize
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._state = self._now()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        numbers = row_indices(index, len(self))
        found = np.empty((len(numbers), *self.shape[1:]), self.stored)
        if found.size:
            target = found.reshape(len(numbers), -1).view("uint8")
            ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1), len(numbers)]
            start = 0
            for end in ends:  # rows that lie side by side are read at once
                self._read(target[start:end], int(numbers[start]))
                start = end
            self._check()
        return found if self.stored == self.dtype else found.astype(self.dtype)

    def _read(self, target: np.ndarray, row: int) -> None:
        view, at = memoryview(target.reshape(-1).data), self.offset + row * self.row_bytes
        while len(view):
            try:
                count = os.preadv(self._file, [view], at)
            except OSError as error:
                raise TrainingError(f"cannot read {self.path}: {error.strerror or error}") from error
            if not count:
                raise TrainingError(f"{self.path} was cut short while it was in use: row {row} is not there any more")
            view, at = view[count:], at + count

    def _check(self) -> None:
        if self._now() != self._state:
            raise changed_in_use(self.path)

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._file)
        return state.st_size, state.st_mtime_ns
