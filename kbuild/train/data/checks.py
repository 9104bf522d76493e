"""Arrays against the plan: shapes, lengths, finite values, labels in range. Every message names array and row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError, listing, suggest
from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.train.data.arrays import Named, Raw, Split, Values, changed, parts

#: Types that stay as they are in memory; a step casts its batch.
_COMPACT = ("uint8", "int8", "float16", "float32", "bool")


@dataclass(frozen=True)
class _Bad:
    """Values that something is wrong with.

    Attributes:
        at: the indices of the first.
        value: the first.
        count: how many there are.
    """

    at: tuple[int, ...]
    value: Any
    count: int


class Checker:
    """Collects what is wrong with the values of one source, and the notes about what was changed."""

    def __init__(self, raw: Raw, plan: Plan, targets: Sequence[Target], span: Span | None):
        self.raw, self.plan, self.targets, self.span = raw, plan, targets, span
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._split = ""

    def split(self, name: str, split: Split) -> Split:
        """The split with layer names for keys and values that fit."""
        self._split = name
        inputs = {layer.name: layer for layer in self.plan.inputs}
        outputs = {target.output: target for target in self.targets}
        x = self._named(split.x, list(inputs), "x")
        y = self._named(split.y, list(outputs), "y")
        if x is None or y is None or not self._lengths(split):
            return split
        weight = self._weights(split.weight, outputs, split.rows)
        return Split(
            {key: self._input(inputs[key], x[key], self._called("x", key)) for key in inputs},
            {key: self._target(outputs[key], y[key], self._called("y", key)) for key in outputs},
            weight,
        )

    def finish(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    def _wrong(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem("data", f"{self.raw.origin}: {message}", self.span, hint))

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _called(self, side: str, key: str) -> str:
        names = self.raw.names
        default = f"{side}_{self._split}" if side != "weight" else "sample_weight"
        return names.get((self._split, side, key)) or names.get((self._split, side, "")) or default

    def _cell(self, called: str, at: tuple[int, ...]) -> str:
        """What a value is called: `x_train[3, 0]`, or with the place of its row, `row 17, age`."""
        place = self.raw.places.get(self._split)
        if place is None:
            return f"{called}[{', '.join(map(str, at))}]"
        inside = f"[{', '.join(map(str, at[1:]))}]" if at[1:] else ""
        return f"{place(at[0])}, {called}{inside}"

    def _named(self, arrays: Named, layers: list[str], side: str) -> Named | None:
        if set(arrays) == {""} and len(layers) == 1:
            return {layers[0]: arrays[""]}
        if side == "y":
            arrays = {self.plan.output_named(key) or key: array for key, array in arrays.items()}
        if set(arrays) == set(layers):
            return arrays
        what = "inputs" if side == "x" else "outputs"
        option = side if self._split != "test" else f"{side}_test"
        hint = f"write `{option}: {{{', '.join(f'{name}: ARRAY' for name in layers)}}}`"
        given = ", ".join(key or "one array" for key in arrays)
        self._wrong(f"the model has the {what} {', '.join(layers)}, the data give {given}", hint)
        return None

    def _lengths(self, split: Split) -> bool:
        sizes = {}
        for side, arrays in split.sides.items():
            for key, array in arrays.items():
                called = self._called(side, key)
                if not array.shape:
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

    def _weights(self, weight: Named | None, outputs: Mapping[str, Target], rows: int) -> Named | None:
        """Weights for all outputs under "", or for each output; an output that has none weighs its rows alike."""
        if weight is None:
            return None
        named = {self.plan.output_named(key) or key: values for key, values in weight.items()} if weight else {}
        unknown = [key for key in named if key and key not in outputs]
        if unknown:
            hint = suggest(unknown[0], outputs) or f"outputs: {', '.join(outputs)}"
            self._wrong(f"there is no output {unknown[0]!r} to weigh examples of", hint)
            return None
        found = {key: self._weight(values, self._called("weight", key)) for key, values in named.items()}
        if "" in found:
            return found
        return {key: found.get(key, np.ones(rows, "float32")) for key in outputs}

    def _weight(self, values: Values, called: str) -> Values:
        if len(values.shape) == 2 and values.shape[1] == 1:
            values = changed(values, lambda part: part[:, 0])
        if len(values.shape) != 1:
            self._wrong(f"{called} has rows of the shape {list(values.shape[1:])}; a weight is one number a row")
            return values
        if values.dtype.kind not in "biuf":
            self._wrong(f"{called} holds text; a weight is a number")
            return values
        (bad,) = self._scan(values, lambda part: ~((part >= 0) & np.isfinite(part)))
        if bad:
            self._wrong(f"{self._cell(called, bad.at)} is {bad.value}; weights are finite numbers from 0")
        elif not any(part.any() for _, part in parts(values)):
            self._wrong(f"{called} is 0 in every row: nothing would be learnt")
        return changed(values, lambda part: part.astype("float32"))

    def _scan(self, values: Values, *tests: Callable[[np.ndarray], np.ndarray]) -> list[_Bad | None]:
        """For each test (values → mask of bad ones) what it finds, all in one pass."""
        found: list[_Bad | None] = [None] * len(tests)
        for start, part in parts(values):
            for which, test in enumerate(tests):
                mask = test(part)
                if not mask.any():
                    continue
                before = found[which]
                count = int(mask.sum()) + (before.count if before else 0)
                if before:
                    found[which] = replace(before, count=count)
                else:
                    first = tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))
                    found[which] = _Bad((start + first[0], *first[1:]), part[first], count)
        return found

    def _finite(self, values: Values, called: str) -> None:
        if values.dtype.kind == "f":
            self._not_finite(self._scan(values, lambda part: ~np.isfinite(part))[0], called)

    def _not_finite(self, bad: _Bad | None, called: str) -> None:
        if bad:
            self._wrong(f"{self._cell(called, bad.at)} is {bad.value}; every value must be a finite number")

    def _input(self, layer: PlannedLayer, values: Values, called: str) -> Values:
        shape = layer.output_shape
        if shape is not None:
            wanted = shape[1:]
            if lacks_channels(values.shape, wanted):
                values = changed(values, lambda part: part[..., None])
                self._note(f"a channel axis of size 1 was added to the arrays of {layer.name}")
            if not fits(values.shape[1:], wanted):
                hint = f"write `input: {{shape: {list(values.shape[1:])}}}`" if len(self.plan.inputs) == 1 else ""
                if self.raw.hint and fits(values.shape[1:-1], wanted[:-1]):
                    hint = self.raw.hint
                self._wrong(
                    f"{called} has rows of the shape {list(values.shape[1:])}, but the input {layer.name!r} "
                    f"takes {_show(wanted)}",
                    hint,
                )
                return values
        dtype = str(layer.config.get("dtype") or "float32")
        if (dtype == "string") != (values.dtype.kind in "SUO"):
            is_text = values.dtype.kind in "SUO"
            self._wrong(
                f"{called} holds {'text' if is_text else 'numbers'}, but the input {layer.name!r} "
                f"takes {'numbers' if is_text else 'text'}"
            )
            return values
        if dtype == "string":
            return values
        kept = "float32" if dtype == "bfloat16" else dtype
        if values.dtype.kind == "f":
            largest = float(np.finfo(kept).max) if np.dtype(kept).kind == "f" else math.inf
            infinite, beyond, fraction = self._scan(
                values,
                lambda part: ~np.isfinite(part),
                lambda part: np.isfinite(part) & (np.abs(part) > largest),
                lambda part: np.isfinite(part) & (part != np.floor(part)),
            )
            self._not_finite(infinite, called)
            if values.dtype.name in _COMPACT:
                return values
            if beyond:
                self._wrong(f"{self._cell(called, beyond.at)} is {float(beyond.value):.3g}, more than {kept} can hold")
            if fraction and np.dtype(kept).kind in "iu":
                self._wrong(f"{called} holds fractions, but the input {layer.name!r} takes {dtype}")
            if self.problems:
                return values
        if values.dtype.name in _COMPACT:
            return values
        return changed(values, lambda part: part.astype(kept))

    def _target(self, target: Target, values: Values, called: str) -> Values:
        if values.dtype.kind in "SUO":
            self._wrong(f"{called} holds text, but {target.loss} on the output {target.output!r} takes numbers")
            return values
        if target.family == "sparse":
            return self._labels(target, values, called)
        self._finite(values, called)
        shape = target.shape
        if shape is not None:
            wanted = shape[1:]
            if lacks_channels(values.shape, wanted, free=False):
                values = changed(values, lambda part: part[..., None])
            if not fits(values.shape[1:], wanted):
                hint = ""
                if target.family == "categorical" and values.dtype.kind in "iu" and len(values.shape) == 1:
                    hint = "these look like class numbers: use the loss sparse_categorical_crossentropy"
                self._wrong(
                    f"{called} has rows of the shape {list(values.shape[1:])}, but the output "
                    f"{target.output!r} gives {_show(wanted)} and {target.loss} compares them one by one",
                    hint,
                )
                return values
        if target.family in ("binary", "categorical"):
            self._range(values, 0, 1, called, f"{target.loss} takes values from 0 to 1")
        if values.dtype.kind == "u" and values.dtype.itemsize == 1:
            return values
        return changed(values, lambda part: part.astype("float32"))

    def _labels(self, target: Target, values: Values, called: str) -> Values:
        shape = target.shape
        if values.dtype.kind == "f":
            infinite, part = self._scan(values, lambda v: ~np.isfinite(v), lambda v: v != np.floor(v))
            self._not_finite(infinite, called)
            if part:
                numbers = f"{target.loss} takes class numbers (0, 1, 2, ...)"
                self._wrong(f"{self._cell(called, part.at)} is {part.value}; {numbers}")
                return values
        wanted = shape[1:-1] if shape is not None else values.shape[1:]
        if len(values.shape) == len(wanted) + 2 and values.shape[-1] == 1:
            values = changed(values, lambda part: part[..., 0])
        if not fits(values.shape[1:], wanted):
            hint = ""
            if shape is not None and fits(values.shape[1:], shape[1:]):
                hint = "these look like one-hot rows: use the loss categorical_crossentropy"
            self._wrong(
                f"{called} has rows of the shape {list(values.shape[1:])}, but {target.loss} on the output "
                f"{target.output!r} takes class numbers of the shape {_show(wanted)}",
                hint,
            )
            return values
        ignored = target.config.get("ignore_class")
        if target.units is not None:
            meaning = f"{target.output!r} has {target.units} units: class numbers go from 0 to {target.units - 1}"
            names = self.raw.classes.get(target.output) or self.raw.classes.get("") or ()
            hint = f"there are {len(names)} classes: {listing(names)}" if len(names) > target.units else ""
            self._range(values, 0, target.units - 1, called, meaning, ignored, hint)
        return changed(values, lambda part: part.astype("int64"))

    def _range(
        self, values: Values, low: int, high: int, called: str, meaning: str, ignored: Any = None, hint: str = ""
    ) -> None:
        def outside(part: np.ndarray) -> np.ndarray:
            bad: np.ndarray = (part < low) | (part > high)
            return bad if ignored is None else bad & (part != ignored)

        (bad,) = self._scan(values, outside)
        if bad:
            more = f" ({bad.count} such values)" if bad.count > 1 else ""
            self._wrong(f"{self._cell(called, bad.at)} is {bad.value}{more}, but {meaning}", hint)


def lacks_channels(shape: Sequence[int], wanted: Sequence[int | None], free: bool = True) -> bool:
    """Whether an array (rows first) fits rows of the shape `wanted` but for a last axis of size 1.

    Args:
        free: whether a last axis of any size counts too.
    """
    last = bool(wanted) and (wanted[-1] == 1 or (free and wanted[-1] is None))
    return last and len(shape) == len(wanted) and fits(shape[1:], wanted[:-1])


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a shape fits one with free (None) axes."""
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=False))


def _show(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
