"""Arrays against the plan: shapes, lengths, finite values, labels in range. Every message names array and row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError
from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.train.data.arrays import Named, Raw, Split

#: Integer types that stay as they are in memory; a step casts its batch.
_COMPACT = ("uint8", "int8", "float16", "float32", "bool")


class Checker:
    """Collects what is wrong with the arrays of one source, and the notes about what was changed."""

    def __init__(self, raw: Raw, plan: Plan, targets: Sequence[Target], span: Span | None):
        self.raw, self.plan, self.targets, self.span = raw, plan, targets, span
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def split(self, name: str, split: Split) -> Split:
        """The split with layer names for keys and arrays that fit."""
        inputs = {layer.name: layer for layer in self.plan.inputs}
        outputs = {target.output: target for target in self.targets}
        x = self._named(split.x, list(inputs), name, "x")
        y = self._named(split.y, list(outputs), name, "y")
        if x is None or y is None:
            return split
        if not self._lengths(name, split):
            return split
        x = {key: self._input(inputs[key], x[key], self._called(name, "x", key)) for key in inputs}
        y = {key: self._target(outputs[key], y[key], self._called(name, "y", key)) for key in outputs}
        return Split(x, y)

    def finish(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    def _wrong(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem("data", f"{self.raw.origin}: {message}", self.span, hint))

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _called(self, split: str, side: str, key: str) -> str:
        names = self.raw.names
        return names.get((split, side, key)) or names.get((split, side, "")) or f"{side}_{split}"

    def _named(self, arrays: Named, layers: list[str], split: str, side: str) -> Named | None:
        if set(arrays) == {""} and len(layers) == 1:
            return {layers[0]: arrays[""]}
        if side == "y":
            arrays = {self.plan.output_named(key) or key: array for key, array in arrays.items()}
        if set(arrays) == set(layers):
            return arrays
        what = "inputs" if side == "x" else "outputs"
        option = side if split != "test" else f"{side}_test"
        hint = f"write `{option}: {{{', '.join(f'{name}: ARRAY' for name in layers)}}}`"
        given = ", ".join(key or "one array" for key in arrays)
        self._wrong(f"the model has the {what} {', '.join(layers)}, the data give {given}", hint)
        return None

    def _lengths(self, name: str, split: Split) -> bool:
        sizes = {}
        for side, arrays in (("x", split.x), ("y", split.y)):
            for key, array in arrays.items():
                called = self._called(name, side, key)
                if array.ndim == 0:
                    self._wrong(f"{called} is a single number, not an array with one row per example")
                    return False
                sizes[called] = len(array)
        if len(set(sizes.values())) > 1:
            self._wrong("arrays of different length: " + ", ".join(f"{k} has {v} rows" for k, v in sizes.items()))
            return False
        if not next(iter(sizes.values())):
            self._wrong(f"{next(iter(sizes))} is empty")
            return False
        return True

    def _finite(self, array: np.ndarray, called: str) -> None:
        if array.dtype.kind != "f":
            return
        for start in range(0, len(array), 4096):
            bad = ~np.isfinite(array[start : start + 4096])
            if bad.any():
                at = tuple(int(i) for i in np.argwhere(bad)[0])
                value = array[start : start + 4096][at]
                row = start + at[0]
                where = f"{called}[{', '.join(map(str, (row, *at[1:])))}]"
                self._wrong(f"{where} is {value}; every value must be a finite number")
                return

    def _input(self, layer: PlannedLayer, array: np.ndarray, called: str) -> np.ndarray:
        shape = layer.output_shape
        if shape is not None:
            wanted = shape[1:]
            if array.ndim == len(wanted) and wanted and wanted[-1] in (1, None) and fits(array.shape[1:], wanted[:-1]):
                array = array[..., None]
                self._note(f"a channel axis of size 1 was added to the arrays of {layer.name}")
            if not fits(array.shape[1:], wanted):
                hint = f"write `input: {{shape: {list(array.shape[1:])}}}`" if len(self.plan.inputs) == 1 else ""
                self._wrong(
                    f"{called} has rows of the shape {list(array.shape[1:])}, but the input {layer.name!r} "
                    f"takes {_show(wanted)}",
                    hint,
                )
                return array
        self._finite(array, called)
        dtype = str(layer.config.get("dtype") or "float32")
        if array.dtype.name in _COMPACT:
            return array
        if np.dtype(dtype if dtype != "bfloat16" else "float32").kind in "iu" and array.dtype.kind == "f":
            if not np.array_equal(array, np.floor(array)):
                self._wrong(f"{called} holds fractions, but the input {layer.name!r} takes {dtype}")
        kept = "float32" if dtype == "bfloat16" else dtype
        if array.dtype.kind == "f" and np.dtype(kept).kind == "f" and array.size:
            largest = np.unravel_index(int(np.argmax(np.abs(array))), array.shape)
            if float(np.finfo(kept).max) < abs(float(array[largest])) < math.inf:
                at = tuple(int(i) for i in largest)
                self._wrong(f"{_cell(called, at)} is {float(array[largest]):.3g}, more than {kept} can hold")
                return array
        return array.astype(kept)

    def _target(self, target: Target, array: np.ndarray, called: str) -> np.ndarray:
        if target.family == "sparse":
            return self._labels(target, array, called)
        self._finite(array, called)
        shape = target.shape
        if shape is not None:
            wanted = shape[1:]
            if array.ndim == len(wanted) and wanted and wanted[-1] == 1 and fits(array.shape[1:], wanted[:-1]):
                array = array[..., None]
            if not fits(array.shape[1:], wanted):
                hint = ""
                if target.family == "categorical" and array.dtype.kind in "iu" and array.ndim == 1:
                    hint = "these look like class numbers: use the loss sparse_categorical_crossentropy"
                self._wrong(
                    f"{called} has rows of the shape {list(array.shape[1:])}, but the output "
                    f"{target.output!r} gives {_show(wanted)} and {target.loss} compares them one by one",
                    hint,
                )
                return array
        if target.family in ("binary", "categorical"):
            self._range(array, 0, 1, called, f"{target.loss} takes values from 0 to 1")
        return array if array.dtype.kind == "u" and array.dtype.itemsize == 1 else array.astype("float32")

    def _labels(self, target: Target, array: np.ndarray, called: str) -> np.ndarray:
        shape = target.shape
        if array.dtype.kind == "f":
            self._finite(array, called)
            part = np.argwhere(array != np.floor(array))
            if len(part):
                at = tuple(int(i) for i in part[0])
                self._wrong(f"{_cell(called, at)} is {array[at]}; {target.loss} takes class numbers (0, 1, 2, ...)")
                return array
        wanted = shape[1:-1] if shape is not None else array.shape[1:]
        if array.ndim == len(wanted) + 2 and array.shape[-1] == 1:
            array = array[..., 0]
        if not fits(array.shape[1:], wanted):
            hint = ""
            if shape is not None and fits(array.shape[1:], shape[1:]):
                hint = "these look like one-hot rows: use the loss categorical_crossentropy"
            self._wrong(
                f"{called} has rows of the shape {list(array.shape[1:])}, but {target.loss} on the output "
                f"{target.output!r} takes class numbers of the shape {_show(wanted)}",
                hint,
            )
            return array
        ignored = target.config.get("ignore_class")
        if target.units is not None:
            meaning = f"{target.output!r} has {target.units} units: class numbers go from 0 to {target.units - 1}"
            self._range(array, 0, target.units - 1, called, meaning, ignored)
        return array.astype("int64")

    def _range(self, array: np.ndarray, low: int, high: int, called: str, meaning: str, ignored: Any = None) -> None:
        bad = (array < low) | (array > high)
        if ignored is not None:
            bad &= array != ignored
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            count = int(bad.sum())
            more = f" ({count} such values)" if count > 1 else ""
            self._wrong(f"{_cell(called, at)} is {array[at]}{more}, but {meaning}")


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a shape fits one with free (None) axes."""
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=False))


def _show(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _cell(called: str, at: tuple[int, ...]) -> str:
    return f"{called}[{', '.join(map(str, at))}]"
