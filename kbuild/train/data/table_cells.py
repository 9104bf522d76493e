"""Cells of a table as numbers and texts; those that are neither are collected with file, row and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span

#: What stands for "no value" in a column of numbers, in small letters.
MISSING = ("", "?", "na", "n/a", "nan", "null", "none", "-")

#: Columns at fault, and rows of each, that are told.
_COLUMNS, _ROWS = 20, 5


@dataclass(frozen=True)
class Column:
    """A column to read.

    Attributes:
        name: as the header has it.
        dtype: "string", or that of its numbers.
        missing: taken where a number is missing; None where that is an error.
    """

    name: str
    dtype: str
    missing: float | None = None


@dataclass
class Faults:
    """Cells that cannot be read: (column, what is wrong) → how many, and the first of them as (row, text)."""

    where: str
    span: Span | None
    cells: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, column: str, what: str, rows: np.ndarray, texts: Any) -> None:
        """Cells of a column; `texts` gives what stands in the n-th of these rows."""
        key = column, what
        known = self.cells.setdefault(key, [])
        for at in range(min(len(rows), _ROWS - len(known))):
            known.append((int(rows[at]) + 1, str(texts(at))))
        self.counts[key] = self.counts.get(key, 0) + len(rows)

    def problems(self, hint: str) -> list[Problem]:
        """One for every column and fault, the first ones at least; `hint` is for cells without a value."""
        found = []
        for (column, what), cells in list(self.cells.items())[:_COLUMNS]:
            (row, text), count = cells[0], self.counts[column, what]
            more = ", ".join(str(row) for row, _ in cells[1:]) + (", ..." if count > len(cells) else "")
            such = f" ({count:,} such cells: also in the rows {more})" if count > 1 else ""
            said = f"{text[:40]!r} {what}" if text.strip() else "there is no value"
            message = f"{self.where}, row {row}, column {column[:60]!r}: {said}{such}"
            found.append(Problem("data", message, self.span, hint if what == _NO_VALUE else ""))
        left = len(self.cells) - len(found)
        if left > 0:
            found.append(Problem("data", f"{self.where}: {left} more columns hold such cells", self.span))
        return found


_NO_VALUE = "is no value"

#: Cells are read as float64, which holds every whole number below this.
_EXACT = 2.0**53


def texts(array: Any, column: Column, start: int, faults: Faults) -> Any:
    """An Arrow array as text without blanks around it; "" where there is no value.

    Args:
        start: the row of the first cell, from 0.
        faults: gets the first cell of what is no text: lists, bytes of another encoding.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        try:
            array = array.cast(pa.string())
        except pa.ArrowException:
            faults.add(column.name, f"is of the type {array.type}, not a text", np.array([start]), lambda at: array[at])
            return pa.array([""] * len(array))
    return pc.utf8_trim_whitespace(array.fill_null(""))


def numbers(array: Any, column: Column, start: int, faults: Faults) -> np.ndarray:
    """An Arrow array as numbers of the column's type.

    Args:
        start: the row of the first cell, from 0.
        faults: gets the cells that hold none.
    """
    import pyarrow as pa

    try:
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.int8())
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            found, empty = _parsed(array, column, start, faults)
        elif pa.types.is_dictionary(array.type):
            return numbers(array.cast(array.type.value_type), column, start, faults)
        else:
            found = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # rounds, as it does texts
            empty = np.isnan(found)
    except pa.ArrowException:
        faults.add(column.name, f"is of the type {array.type}, not a number", np.array([start]), lambda at: array[at])
        return np.zeros(len(array), column.dtype)
    if empty.any():
        if column.missing is None:
            _fault(faults, column, _NO_VALUE, empty, start, array)
        found = np.where(empty, 0.0 if column.missing is None else column.missing, found)
    dtype = np.dtype(column.dtype)
    if dtype.kind == "f":
        _fault(faults, column, "is not a finite number", ~np.isfinite(found), start, array)
        beyond = np.isfinite(found) & (np.abs(found) > np.finfo(dtype).max)
        _fault(faults, column, f"is more than {dtype} can hold", beyond, start, array)
    else:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        wrong = ~np.isfinite(found) | (found != np.floor(found))
        if limits is not None:
            wrong |= (found < limits.min) | (found >= float(limits.max) + 1)
        _fault(faults, column, "is not a whole number" if limits else "is not a number", wrong, start, array)
        _fault(
            faults, column, "is beyond 2^53, where numbers are not exact", ~wrong & (abs(found) >= _EXACT), start, array
        )
        found = np.where(wrong, 0, found)
    with np.errstate(over="ignore"):
        return np.asarray(found.astype(dtype))


def _fault(faults: Faults, column: Column, what: str, mask: np.ndarray, start: int, array: Any) -> None:
    if mask.any():
        at = np.flatnonzero(mask)
        faults.add(column.name, what, at + start, lambda n: array[int(at[n])].as_py() or "")


def _parsed(array: Any, column: Column, start: int, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers, and which of them stand for no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = texts(array, column, start, faults)
    try:
        found = trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return found, np.isnan(found)
    except pa.ArrowInvalid:
        coded = trimmed.dictionary_encode()
    values = np.array([_number(text) for text in coded.dictionary.to_pylist()], "float64")
    empty = pc.is_in(pc.utf8_lower(coded.dictionary), pa.array(MISSING)).to_numpy(zero_copy_only=False)
    codes = coded.indices.to_numpy()
    bad = np.isnan(values) & ~empty
    if bad.any():
        _fault(faults, column, "is not a number", bad[codes], start, array)
        values = np.where(bad, 0.0, values)
    return values[codes], empty[codes]


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else float("nan")
    except ValueError:
        return float("nan")
