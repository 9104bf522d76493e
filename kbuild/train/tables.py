"""Inputs to predict on (npz, npy, csv) and predictions as files (npy, csv, JSON lines)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kbuild.errors import InputError
from kbuild.train.classes import Labels
from kbuild.train.data.checks import fits
from kbuild.train.data.npz import Archive

Shape = Sequence[Any]

#: Suffixes by what they hold.
INPUT_SUFFIXES = (".npz", ".npy", ".csv")
OUTPUT_SUFFIXES = (".npy", ".csv", ".jsonl")


def read_inputs(
    path: Path, shapes: dict[str, tuple[int | None, ...]], array: str | None, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of at most `size` rows, by input layer.

    Args:
        shapes: input layer → shape without the batch axis.
        array: name of the array in an archive; None for `x`, `x_test` or the only one, or one named as each input.

    Raises:
        InputError: the file cannot be read, or rows do not fit; it names the file and the row.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in INPUT_SUFFIXES:
        raise InputError(f"cannot read {path.name}: inputs are {', '.join(INPUT_SUFFIXES)}")
    if len(shapes) > 1 and suffix != ".npz":
        raise InputError(f"the model has the inputs {', '.join(shapes)}; give an .npz with an array for each")
    if suffix == ".csv":
        yield from _csv_batches(path, *next(iter(shapes.items())), size)
        return
    arrays = _npz(path, shapes, array) if suffix == ".npz" else {next(iter(shapes)): _npy(path)}
    arrays = {name: fitted(values, shapes[name], name, path) for name, values in arrays.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
        raise InputError(f"{path}: arrays of different length: {told}")
    rows = next(iter(lengths.values()))
    for start in range(0, rows, size):
        batch = {name: values[start : start + size] for name, values in arrays.items()}
        check_finite(batch, path, start)
        yield batch


def check_finite(batch: Mapping[str, np.ndarray], path: Path, start: int) -> None:
    """
    Args:
        start: the number of the first row.

    Raises:
        InputError: a value is NaN or infinite; names the row.
    """
    for name, values in batch.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(f"{path}: row {start + bad} of {name} holds a value that is not a finite number")


def _npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise InputError(f"{path} holds no array of numbers")
    return values


def _npz(path: Path, shapes: dict[str, Any], array: str | None) -> dict[str, np.ndarray]:
    with Archive(path, None) as archive:
        if len(shapes) > 1:
            return {name: archive.read(name, None) for name in shapes}
        names = list(archive.members)
        first = next((name for name in ("x", "x_test", *shapes) if name in names), None)
        chosen = array or first or (names[0] if len(names) == 1 else None)
        if chosen is None:
            raise InputError(f"{path} holds the arrays {', '.join(names[:12])}; say which one")
        return {next(iter(shapes)): archive.read(chosen, None)}


def fitted(values: np.ndarray, shape: tuple[int | None, ...], name: str, path: Path) -> np.ndarray:
    """Rows as an input takes them, a missing channel axis of size 1 added.

    Raises:
        InputError: they have another shape.
    """
    if values.ndim == len(shape) and shape and shape[-1] in (1, None) and fits(values.shape[1:], shape[:-1]):
        values = values[..., None]
    if not fits(values.shape[1:], shape):
        hint = ""
        if fits(values.shape, shape):
            hint = "; a single example needs a first axis of size 1"
        raise InputError(
            f"{path}: rows have the shape {list(values.shape[1:])}, but the input {name!r} takes {_show(shape)}{hint}"
        )
    return values


def _show(shape: Shape) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _csv_batches(path: Path, name: str, shape: tuple[int | None, ...], size: int) -> Iterator[dict[str, np.ndarray]]:
    if None in shape:
        raise InputError(f"the input {name!r} has a free axis {_show(shape)}, which a .csv row cannot fill; use .npy")
    columns = math.prod(int(side or 0) for side in shape)
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            for number, cells in enumerate(reader, 1):
                if not cells:
                    continue
                values = _numbers(cells)
                if values is None and number == 1:
                    continue  # a header
                if values is None:
                    bad = next(cell for cell in cells if _numbers([cell]) is None)
                    raise InputError(f"{path}, line {number}: {bad[:40]!r} is not a finite number")
                if len(values) != columns:
                    raise InputError(
                        f"{path}, line {number}: {len(values)} values, but the input {name!r} "
                        f"takes {columns} (the shape {_show(shape)}, flattened)"
                    )
                rows.append(values)
                if len(rows) == size:
                    yield {name: np.array(rows, "float32").reshape(len(rows), *shape)}
                    rows = []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if rows:
        yield {name: np.array(rows, "float32").reshape(len(rows), *shape)}


def _numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


class Writer:
    """Writes predictions batch by batch. `classes` adds the class of these outputs, and its name where it is known."""

    def __init__(self, outputs: Sequence[str], classes: Mapping[str, Labels]):
        self.outputs, self.classes, self.rows = list(outputs), classes, 0

    def write(self, batch: dict[str, np.ndarray], places: Sequence[str] = ()) -> None:
        """
        Args:
            places: what each row is called (a file, a record), where it has a place of its own.
        """
        raise NotImplementedError

    def numbers(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Output → the class of each row."""
        return {name: one.numbers(batch[name]) for name, one in self.classes.items()}

    def close(self) -> None: ...


class JsonLines(Writer):
    """One object per row: {"row", "place", output: values, "class", "class_name"}."""

    def __init__(self, stream: TextIO, outputs: Sequence[str], classes: Mapping[str, Labels]):
        super().__init__(outputs, classes)
        self.stream = stream

    def write(self, batch: dict[str, np.ndarray], places: Sequence[str] = ()) -> None:
        numbers = self.numbers(batch)
        for i in range(len(batch[self.outputs[0]])):
            row: dict[str, Any] = {"row": self.rows, **({"place": places[i]} if places else {})}
            for name in self.outputs:
                row[name] = batch[name][i].tolist()
                if name in numbers:
                    key, number = "class" if len(self.outputs) == 1 else f"{name}_class", int(numbers[name][i])
                    row[key] = number
                    if self.classes[name].names:
                        row[f"{key}_name"] = self.classes[name].names[number]
            self.stream.write(json.dumps(row) + "\n")
            self.rows += 1


class CsvTable(Writer):
    """A header, then one line per row: its place, the outputs flattened, the class and its name."""

    def __init__(self, stream: TextIO, outputs: Sequence[str], classes: Mapping[str, Labels]):
        super().__init__(outputs, classes)
        self.table = csv.writer(stream, lineterminator="\n")

    def write(self, batch: dict[str, np.ndarray], places: Sequence[str] = ()) -> None:
        flat = {name: batch[name].reshape(len(batch[name]), -1) for name in self.outputs}
        numbers = self.numbers(batch)
        if not self.rows:
            header = ["row", *(["place"] if places else [])]
            for name in self.outputs:
                header += [f"{name}_{i}" for i in range(flat[name].shape[1])]
                header += [f"{name}_class"] if name in numbers else []
                header += [f"{name}_class_name"] if name in numbers and self.classes[name].names else []
            self.table.writerow(header)
        for i in range(len(flat[self.outputs[0]])):
            line: list[Any] = [self.rows, *places[i : i + 1]]
            for name in self.outputs:
                line += flat[name][i].tolist()
                if name in numbers:
                    number, names = int(numbers[name][i]), self.classes[name].names
                    line += [number, names[number]] if names else [number]
            self.table.writerow(line)
            self.rows += 1


class NpyArray(Writer):
    """One array of all rows; for models with one output."""

    def __init__(self, stream: Any, outputs: Sequence[str], classes: Mapping[str, Labels]):
        super().__init__(outputs, classes)
        self.stream, self.parts = stream, []  # type: ignore[var-annotated]
        if len(outputs) != 1:
            raise InputError(f"an .npy holds one array, the model has the outputs {', '.join(outputs)}; use .jsonl")

    def write(self, batch: dict[str, np.ndarray], places: Sequence[str] = ()) -> None:
        self.parts.append(batch[self.outputs[0]])
        self.rows += len(self.parts[-1])

    def close(self) -> None:
        np.save(self.stream, np.concatenate(self.parts) if self.parts else np.zeros(0, "float32"))


@contextmanager
def open_writer(
    path: Path | None, outputs: Sequence[str], classes: Mapping[str, Labels], stdout: TextIO, overwrite: bool
) -> Iterator[Writer]:
    """The writer that fits the suffix; JSON lines on stdout where there is no path.

    Raises:
        InputError: an unknown suffix, or the file exists and may not be replaced.
    """
    if path is None:
        yield JsonLines(stdout, outputs, classes)
        return
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        raise InputError(f"cannot write {path.name}: predictions are written as {', '.join(OUTPUT_SUFFIXES)}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"cannot write {path}: it is a directory" if path.is_dir() else f"no directory {path.parent}")
    from kbuild.files import writing

    kind = {".npy": NpyArray, ".csv": CsvTable, ".jsonl": JsonLines}[suffix]
    with writing(path) as stream:
        text: Any = stream if kind is NpyArray else io.TextIOWrapper(stream, encoding="utf-8", newline="")
        writer = kind(text, outputs, classes)
        yield writer
        writer.close()
        if text is not stream:
            text.flush()
            text.detach()
