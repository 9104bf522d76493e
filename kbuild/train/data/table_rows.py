"""Typed columns of a table: in memory where they are small, else in an Arrow file that is read by row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbuild.errors import TrainingError
from kbuild.train.data.arrays import Values, row_indices
from kbuild.train.data.memory import in_memory

#: Rows of the batches that an Arrow file is written in.
_BATCH = 65_536


class Store:
    """Columns that grow batch by batch.

    Args:
        size: bytes that all of them may take; more than is held in memory go to a temporary file, gone with the store.
    """

    def __init__(self, size: int):
        self.rows = 0
        self._parts: list[list[Any]] = []
        self._starts: list[int] = []
        self._file: Any = None
        self._writer: Any = None
        if not in_memory([size])[0]:
            self._file = tempfile.TemporaryFile(prefix="kbuild-table-")  # noqa: SIM115 - lives as long as its rows

    def add(self, columns: list[Any]) -> None:
        """Arrow arrays or NumPy arrays, one for each column.

        Raises:
            TrainingError: the disk has no room.
        """
        import pyarrow as pa

        arrays = [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns]
        rows = len(arrays[0])
        if self._file is None:
            self._parts.append(arrays)
        else:
            batch = pa.record_batch(arrays, [str(at) for at in range(len(arrays))])
            with _naming_failures():
                if self._writer is None:
                    self._sink = pa.PythonFile(self._file, "w")
                    self._writer = pa.ipc.new_file(self._sink, batch.schema)
                for start in range(0, rows, _BATCH):
                    self._writer.write_batch(batch.slice(start, _BATCH))
        self.rows += rows

    def finish(self) -> None:
        """No more rows; the columns can be read.

        Raises:
            TrainingError: the disk has no room.
        """
        import pyarrow as pa

        if self._writer is None:
            return
        with _naming_failures():
            self._writer.close()
            self._file.flush()
        reader = pa.ipc.open_file(pa.memory_map(f"/proc/self/fd/{self._file.fileno()}") if _LINUX else self._file)
        batches = [reader.get_batch(at) for at in range(reader.num_record_batches)]
        self._parts = [batch.columns for batch in batches]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()

    def column(self, at: int) -> Values:
        """The values of the column at that position, (rows,)."""
        if self._file is None:
            return _array([part[at] for part in self._parts])
        dtype = np.dtype(object) if _is_text(self._parts[0][at]) else np.dtype(str(self._parts[0][at].type))
        return StoredColumn(self, at, (self.rows,), dtype)

    def take(self, at: int, index: Any) -> np.ndarray:
        """Rows of a column of the file."""
        import pyarrow as pa

        rows = row_indices(index, self.rows)
        part = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(part, kind="stable")
        found: np.ndarray | None = None
        for which in np.unique(part):
            here = order[np.searchsorted(part[order], which) : np.searchsorted(part[order], which, side="right")]
            local = pa.array(rows[here] - self._starts[which])
            values = _array([self._parts[which][at].take(local)])
            if found is None:
                found = np.empty(len(rows), values.dtype)
            found[here] = values
        if found is None:
            return _array([self._parts[0][at][:0]])
        return found


_LINUX = os.path.isdir("/proc/self/fd")


@contextmanager
def _naming_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = tempfile.gettempdir()
        raise TrainingError(f"cannot write the table to {where}: {error.strerror or error}") from error


@dataclass(frozen=True)
class StoredColumn:
    """A column of a `Store` in a file."""

    store: Store
    at: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.store.take(self.at, index)


@dataclass(frozen=True)
class Side:
    """Columns side by side, as one input takes them.

    Attributes:
        shape: (rows, columns), or (rows,) for an input of single values.
    """

    columns: tuple[Values, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        found = [column[index] for column in self.columns]
        return found[0] if len(self.shape) == 1 else np.stack(found, 1)


def _is_text(array: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


def _array(parts: list[Any]) -> np.ndarray:
    """Arrow arrays as one NumPy array; equal texts are one object."""
    if not parts:
        return np.zeros(0, "float32")
    if not _is_text(parts[0]):
        return np.concatenate([np.asarray(part.to_numpy(zero_copy_only=False)) for part in parts])
    known: dict[str, str] = {}
    found = np.empty(sum(map(len, parts)), object)
    start = 0
    for part in parts:
        coded = part.dictionary_encode()
        words = np.empty(len(coded.dictionary), object)
        words[:] = [known.setdefault(word, word) for word in coded.dictionary.to_pylist()]
        found[start : start + len(part)] = words[coded.indices.to_numpy()]
        start += len(part)
    return found
