"""A starter spec for a table: columns typed from what the file holds, head and loss from its target."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError, suggest
from kbuild.spec.data import SUFFIXES, DataSettings
from kbuild.spec.table import LIMITS, input_name
from kbuild.train.data.table_cells import MISSING, Column, Faults, texts
from kbuild.train.data.table_file import TableFile, open_table

#: Rows that are looked at; values that a vocabulary lists; slots of one that is learnt; classes of a target.
ROWS, LISTED, SLOTS, CLASSES = 200_000, 20, 1_000, 1_000

#: Columns of numbers alone, more than this, are one input.
WIDE = 200

#: Whole numbers 0, 1, ... of so many values are classes.
NUMBERED = 20

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*")
_WORDS = ("y", "n", "yes", "no", "true", "false", "on", "off", "null")


@dataclass
class _Seen:
    """What a column holds: its different values in the order in which they were met, with how often.

    Attributes:
        unread: why it is neither numbers nor texts; "" where it is.
    """

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    unread: str = ""

    def add(self, array: Any) -> None:
        faults = Faults(self.name, None)
        coded = texts(array, Column(self.name, "string"), 0, faults).dictionary_encode()
        if faults.cells:
            self.unread = f"of the type {array.type}, neither numbers nor texts"
        often = np.bincount(coded.indices.to_numpy(), minlength=len(coded.dictionary))
        for value, count in zip(coded.dictionary.to_pylist(), often.tolist(), strict=True):
            self.counts[value] = self.counts.get(value, 0) + count

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def values(self) -> list[str]:
        """Different values that are not empty, sorted."""
        return sorted(value for value in self.counts if value)

    @property
    def missing(self) -> int:
        """Cells that hold no number."""
        return sum(count for value, count in self.counts.items() if value.lower() in MISSING)

    @property
    def numbers(self) -> list[float] | None:
        """The different numbers, where all values are numbers or missing."""
        try:
            found = [float(value) for value in self.counts if value.lower() not in MISSING]
        except ValueError:
            return None
        return found if found and all(map(np.isfinite, found)) and not any("_" in v for v in self.counts) else None

    @property
    def different(self) -> bool:
        """Whether nearly every row has a value of its own."""
        return self.rows >= 20 and len(self.counts) >= 0.9 * self.rows


def table_spec(path: Path, target: str, output: Path) -> str:
    """The text of a spec that trains on the file.

    Args:
        path: a .csv or .parquet file.
        target: the column to learn.
        output: where the spec will be: its paths are relative to its folder.

    Raises:
        SpecError: the file cannot be read.
        InputError: no table, no such column, a target that cannot be learnt.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind not in ("csv", "parquet"):
        raise InputError(f"--data takes a .csv or .parquet file, not {path}")
    separator = _separator(path) if kind == "csv" else ","
    file = open_table(DataSettings(kind, str(path), {"delimiter": separator}), str(path), Path(), kind)
    if target not in file.header:
        hint = suggest(target, file.header) or f"columns: {', '.join(list(file.header)[:12])}"
        raise InputError(f"{path} has no column {target!r}; {hint}")
    columns = _look(file)
    head, loss, metric, about = _head(columns.pop(target), path)
    numeric, category, left = _typed(list(columns.values()))
    if not numeric and not category:
        raise InputError(
            f"{path}: no column beside {target!r} can be learnt from; {'; '.join(left) or 'there is none'}"
        )
    missing = sum(one.missing for one in numeric)
    source = Path(os.path.relpath(path, output.parent)).as_posix()
    data = [f"{kind}: {_word(source)}", f"y: {_word(target)}"]
    data += [f"delimiter: {json.dumps(separator)}"] * (separator != ",") + ["missing: 0"] * bool(missing)
    wide = len(numeric) > WIDE and not category
    if len(numeric) + len(category) > LIMITS["table-columns"] and not wide:
        raise InputError(
            f"{path}: {len(numeric) + len(category):,} columns, numbers and texts, are more inputs than the limit "
            f"table-columns ({LIMITS['table-columns']:,}); keep those that matter"
        )
    lines = [f"# Learns {_line(target)} from the other columns of {_line(path.name)}, typed by what they hold."]
    lines += [f"input: {{shape: [{len(numeric)}]}}"] if wide else ["input:", "  table:"]
    if numeric and not wide:
        lines += ["    numeric:  # normalized with the mean and variance of the training rows"]
        lines += [f"      - {_word(one.name)}" for one in numeric]
    if category:
        lines += ["    category:  # values, or how many of the commonest to learn; all others share one slot"]
        lines += [f"      {_word(one.name)}: {_category(one)}" for one in category]
    if left:
        lines += [f"    # left out: {reason}" for reason in left]
    if wide and left:
        data += [f"x: [{', '.join(_word(one.name) for one in numeric)}]"]
    name = input_name(target)
    name = name if name and not name.startswith("table") and name not in {input_name(c) for c in columns} else "out"
    lines += ["ordering: {order: W-N-A-D, dropout: 0.1}", "layers:"]
    lines += ["  - Normalization  # with the mean and variance of the training rows"] * wide
    lines += ["  - Dense: {units: 64, activation: relu}"] * 2
    lines += [f"  - {{Dense: {head}, name: {_word(name)}}}  # {about}", "train:", f"  data: {{{', '.join(data)}}}"]
    if missing:
        lines[-1] += f"  # `missing`: {missing:,} cells of the numeric columns are empty and read as this number"
    lines += [f"  loss: {loss}", f"  metrics: [{metric}]", "  epochs: 20", "  batch_size: 128", "  validation: 0.2"]
    return "\n".join(lines) + "\n"


def _separator(path: Path) -> str:
    """The character that the first line has most of."""
    try:
        with path.open("rb") as stream:
            first = stream.readline(2**20)
    except OSError:
        return ","
    return max(",;\t|", key=lambda one: first.count(one.encode()))


def _look(file: TableFile) -> dict[str, _Seen]:
    found = {name: _Seen(name) for name in file.header}
    rows = 0
    for arrays in file.batches(list(found)):
        for seen, array in zip(found.values(), arrays, strict=True):
            seen.add(array)
        rows += len(arrays[0])
        if rows >= ROWS:
            break
    if not rows:
        raise InputError(f"{file.path} has no rows below its header")
    return found


def _head(seen: _Seen, path: Path) -> tuple[int, str, str, str]:
    """Units, loss, metric and a remark."""
    numbers, classes = seen.numbers, seen.values
    if seen.unread:
        raise InputError(f"{path}: the target {seen.name!r} is {seen.unread}")
    if len(classes) < 2:
        raise InputError(
            f"{path}: the target {seen.name!r} is {classes[0]!r} in every row" if classes else _empty(path)
        )
    if seen.counts.get("") or (numbers is not None and seen.missing):
        raise InputError(f"{path}: {seen.missing:,} rows have no {seen.name!r}; every row needs its target")
    if numbers is not None and (len(numbers) > NUMBERED or sorted(numbers) != list(range(len(numbers)))):
        return 1, "mse", "mae", "a number"
    if len(classes) > CLASSES:
        raise InputError(f"{path}: the target {seen.name!r} has {len(classes):,} different texts, too many classes")
    shown = ", ".join(classes[:6]) + (", ..." if len(classes) > 6 else "")
    return len(classes), "sparse_categorical_crossentropy", "accuracy", f"{len(classes)} classes: {_line(shown)}"


def _empty(path: Path) -> str:
    return f"{path}: the target has no values"


def _typed(columns: list[_Seen]) -> tuple[list[_Seen], list[_Seen], list[str]]:
    """Numeric columns, categories, and why others are left out."""
    numeric: list[_Seen] = []
    category: list[_Seen] = []
    left: list[str] = []
    taken: set[str] = set()
    for seen in columns:
        name, numbers = _line(seen.name), seen.numbers
        key = input_name(seen.name)
        reason = ""
        if not key or key in taken or seen.name.startswith("="):
            reason = "its name cannot be that of an input of its own"
        elif seen.unread:
            reason = seen.unread
        elif len(seen.counts) == 1:
            reason = f"{_line(next(iter(seen.counts)))[:40]!r} in every row"
        elif seen.different and (numbers is None or _counts_up(seen.name, numbers)):
            reason = "another value in nearly every row, as an id has"
        if reason:
            left.append(f"{name} ({reason})")
            continue
        taken.add(key)
        (category if numbers is None else numeric).append(seen)
    return numeric, category, left


def _counts_up(name: str, numbers: list[float]) -> bool:
    whole = all(number == int(number) for number in numbers)
    named = re.search(r"(^|[^A-Za-z])id$", name, re.IGNORECASE) is not None
    return whole and (named or max(numbers) - min(numbers) + 1 == len(numbers))


def _category(seen: _Seen) -> str:
    values = seen.values
    if len(values) <= LISTED and not any(value.startswith("=") for value in values):  # what a spec computes
        return f"[{', '.join(map(_word, values))}]"
    return f"{min(len(values) + 1, SLOTS)}  # {len(values):,} different values"


def _line(text: str) -> str:
    return " ".join("".join(_shown(text)).split())


def _shown(text: str) -> Iterator[str]:
    return (letter if letter.isprintable() else " " for letter in text)


def _word(text: str) -> str:
    """A text as YAML reads it back."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
