"""Tables, CSV and Parquet: which columns a model reads, typed as its inputs and targets take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError, suggest
from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan, PlannedLayer
from kbuild.spec.data import DataSettings
from kbuild.spec.table import input_name
from kbuild.train.data.arrays import Named, Raw, Split, Values, is_resident
from kbuild.train.data.npz import fail
from kbuild.train.data.seen import Seen, look
from kbuild.train.data.table_cells import Column, Faults, numbers, texts
from kbuild.train.data.table_file import TableFile, open_table
from kbuild.train.data.table_rows import Side, Store

#: Bound by the name the error shows: different labels of a target.
LIMITS = {"labels": 100_000}

#: Kinds of losses whose targets are classes.
_CLASSES = ("sparse", "binary", "categorical")


def read_table(data: DataSettings, folder: Path, plan: Plan, targets: Sequence[Target]) -> Raw:
    """Rows of the file, and of that of `test`.

    Raises:
        SpecError: no such file or column, cells that are no numbers (file, row, column), labels that no class has.
    """
    wanted = Wanted(data, plan, targets)
    problems: list[Problem] = []
    found: dict[str, Split] = {}
    seen: list[Seen] = []
    places, classes = {}, dict(data.classes)
    names: dict[tuple[str, str, str], str] = {}
    for part, option in (("train", data.kind), ("test", "test")):
        source = data.source if option == data.kind else data.options.get("test")
        if source is None:
            continue
        try:
            file = open_table(data, source, folder, option)
            seen.append(look([file.path]))
            found[part], learnt, called = wanted.read(file, classes)
        except SpecError as error:
            problems += error.problems
            continue
        classes |= {output: labels for output, labels in learnt.items() if output not in classes}
        names |= {(part, *key): name for key, name in called.items()}
        places[part] = partial(_place, "" if part == "train" else f"{source}, ")
    if problems:
        raise SpecError(problems)
    origin, known = str(folder / data.source), wanted.known(classes)
    return Raw(origin, found["train"], found.get("test"), names, known, places, files=tuple(seen))


def _place(file: str, row: int) -> str:
    return f"{file}row {row + 1}"


def table_batches(
    path: Path, data: DataSettings, plan: Plan, targets: Sequence[Target], size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of a file, which need not hold targets, at most `size` rows at a time.

    Raises:
        SpecError: as `read_table`.
    """
    wanted = Wanted(data, plan, targets)
    x, rows, _ = wanted.inputs(open_table(data, str(path), Path(), data.kind))
    for start in range(0, rows, size):
        yield {name: values[start : start + size] for name, values in x.items()}


@dataclass
class _Labels:
    """The labels of a target as they come: numbers in the order in which they were met."""

    seen: dict[str, int] = field(default_factory=dict)
    codes: list[np.ndarray] = field(default_factory=list)

    def add(self, array: Any, column: Column, start: int, faults: Faults) -> None:
        coded = texts(array, column, start, faults).dictionary_encode()
        known = [self.seen.setdefault(text, len(self.seen)) for text in coded.dictionary.to_pylist()]
        self.codes.append(np.array(known, "int32")[coded.indices.to_numpy()] if known else np.zeros(0, "int32"))


class Wanted:
    """What a model reads of a table.

    Args:
        data: options `x`, `y`, `sample_weight`, `missing`.
    """

    def __init__(self, data: DataSettings, plan: Plan, targets: Sequence[Target]):
        self.data, self.plan = data, plan
        self.targets = {target.output: target for target in targets}
        self.y = self._named("y")
        self.weight = self._named("sample_weight")

    def known(self, classes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Names of classes that the file gave, not the spec."""
        return {output: names for output, names in classes.items() if output not in self.data.classes}

    def _named(self, option: str) -> dict[str, str]:
        value = self.data.options.get(option, {})
        return dict(value) if isinstance(value, dict) else {"": value}

    def inputs(
        self, file: TableFile, more: Sequence[tuple[str, str]] = (), targets: Any = None
    ) -> tuple[dict[str, Values], int, dict[tuple[str, str], str]]:
        """Values by input layer, the rows there are, and what messages call the columns.

        Args:
            more: (option, column) of columns that are read beside.
            targets: takes the arrays of these columns, batch by batch, and the row of the first.
        """
        columns = {layer.name: self._columns(layer, file) for layer in self.plan.inputs}
        every = [column for of_layer in columns.values() for column in of_layer]
        self._check([*(("x", column.name) for column in every), *more], file)
        store, faults = Store(file.bytes), Faults(str(file.path), file.span)
        for arrays in file.batches([*(column.name for column in every), *(name for _, name in more)]):
            typed = [
                (texts if column.dtype == "string" else numbers)(array, column, store.rows, faults)
                for array, column in zip(arrays, every, strict=False)
            ]
            if targets is not None:
                targets(arrays[len(every) :], store.rows, faults)
            store.add(typed)
        hint = "write `missing: NUMBER` to take that number for cells without one, or read the column as a category"
        if faults.cells:
            raise SpecError(faults.problems(hint))
        if not store.rows:
            fail(f"{file.path} has no rows below its header", file.span)
        store.finish()
        found: dict[str, Values] = {}
        called, at = {}, 0
        for layer in self.plan.inputs:
            own = columns[layer.name]
            values = tuple(store.column(at + n) for n in range(len(own)))
            at += len(own)
            shape = (store.rows,) if layer.output_shape is not None and len(layer.output_shape) == 1 else None
            side = Side(values, shape or (store.rows, len(own)), values[0].dtype)
            found[layer.name] = side[:] if all(map(is_resident, values)) else side
            called["x", layer.name] = f"column {own[0].name!r}" if len(own) == 1 else "columns"
        return found, store.rows, called

    def read(
        self, file: TableFile, classes: dict[str, tuple[str, ...]]
    ) -> tuple[Split, dict[str, tuple[str, ...]], dict[tuple[str, str], str]]:
        """A split, the names of classes that its labels are, and what messages call its columns."""
        named = [("y", column) for column in self.y.values()]
        named += [("sample_weight", column) for column in self.weight.values()]
        labels = {key: _Labels() for key in self.y if self._of(key) is None or self._of(key).family in _CLASSES}  # type: ignore[union-attr]
        plain: dict[tuple[str, str], list[np.ndarray]] = {}

        def take(arrays: list[Any], start: int, faults: Faults) -> None:
            given = [("y", key) for key in self.y] + [("weight", key) for key in self.weight]
            for (side, key), (_, column), array in zip(given, named, arrays, strict=True):
                if side == "y" and key in labels:
                    labels[key].add(array, Column(column, "string"), start, faults)
                    if len(labels[key].seen) > LIMITS["labels"]:
                        fail(
                            f"{file.path}: the target {column!r} has more labels than the limit labels "
                            f"({LIMITS['labels']})",
                            file.span,
                            "a number is learnt with a loss such as mse",
                        )
                else:
                    plain.setdefault((side, key), []).append(numbers(array, Column(column, "float32"), start, faults))

        x, _, called = self.inputs(file, named, take)
        learnt: dict[str, tuple[str, ...]] = {}
        y: dict[str, np.ndarray] = {}
        for key, column in self.y.items():
            called["y", key] = f"column {column!r}"
            if key in labels:
                known = classes.get(key) or (next(iter(classes.values())) if len(classes) == len(self.y) == 1 else ())
                y[key], names = _class_numbers(labels[key], known, column, file)
                if names and not known:
                    learnt[key] = names
                    self._check_classes(key, names, column, file)
            else:
                y[key] = np.concatenate(plain["y", key])
        weight: Named | None = {key: np.concatenate(plain["weight", key]) for key in self.weight} or None
        called |= {("weight", key): f"column {column!r}" for key, column in self.weight.items()}
        return Split(x, y, weight), learnt, called

    def _check_classes(self, key: str, names: Sequence[str], column: str, file: TableFile) -> None:
        """Labels that are texts: two or more, and no more than the output can tell apart."""
        target, place = self._of(key), self.data.place("y")
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        if len(names) == 1:
            fail(f"{file.path}: the target {column!r} is {names[0]!r} in every row", place, "there is nothing to learn")
        if target is None or target.units is None:
            return
        most = 2 if target.family == "binary" and target.units == 1 else target.units
        if len(names) > most:
            message = f"{file.path}: the target {column!r} has {len(names)} labels ({shown})"
            wanted = f"write `Dense: {len(names)}`" if target.family == "sparse" else "more than two need a unit each"
            fail(f"{message}, but {target.output!r} has {target.units} units, for {most} classes", place, wanted)

    def _of(self, key: str) -> Target | None:
        if not key:
            return next(iter(self.targets.values())) if len(self.targets) == 1 else None
        return self.targets.get(self.plan.output_named(key) or key)

    def _columns(self, layer: PlannedLayer, file: TableFile) -> list[Column]:
        """The columns that an input takes: those of `x`, the one of its name, or all but targets and weights."""
        dtype = str(layer.config.get("dtype") or "float32")
        kept = "float32" if dtype == "bfloat16" else dtype
        missing = self.data.options.get("missing")
        single = len(self.plan.inputs) == 1
        if "x" in self.data.options and not single:
            fail(
                "`x` names the columns of a single input; several take the columns of their names", self.data.place("x")
            )
        if single and "x" in self.data.options:
            names = list(self.data.options["x"])
        else:
            same = [column for column in file.header if column == layer.name or input_name(column) == layer.name]
            if len(same) > 1:
                fail(
                    f"{file.path}: the columns {same[0]!r} and {same[1]!r} would both be the input {layer.name}",
                    file.span,
                    "rename one of them in the file",
                )
            shape = layer.output_shape
            one = shape is not None and shape[1:] in ((), (1,))
            if same or not single or one:
                names = same or [layer.name]
            else:
                others = {*self.y.values(), *self.weight.values()}
                names = [column for column in file.header if column not in others]
        return [Column(name, kept, missing) for name in names]

    def _check(self, asked: Sequence[tuple[str, str]], file: TableFile) -> None:
        """Columns that the file does not have, all at once."""
        problems = []
        for option, name in dict.fromkeys(asked):
            if name in file.header:
                continue
            inputs = {input_name(column): column for column in file.header}
            hint = suggest(name, [*file.header, *inputs]) or f"columns: {', '.join(list(file.header)[:12])}"
            span: Span | None = self.data.place(option)
            problems.append(Problem("data", f"{file.path} has no column {name[:60]!r}", span, hint))
        if problems:
            raise SpecError(problems)


def _class_numbers(
    labels: _Labels, known: Sequence[str], column: str, file: TableFile
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers of labels, and the names of the classes: numbers stay, texts are numbered in sorted order.

    Args:
        known: names that decide the numbers, where there are some.
    """
    codes = np.concatenate(labels.codes)
    seen = list(labels.seen)
    whole = [_whole(label) for label in seen]
    if known and all(label in known for label in seen):
        return np.array([known.index(label) for label in seen], "int64")[codes], tuple(known)
    if all(number is not None for number in whole):
        return np.array(whole, "int64")[codes], ()
    order = {name: at for at, name in enumerate(known or sorted(seen))}
    unknown = [label for label in seen if label not in order or not label]
    if unknown:
        row = int(np.flatnonzero(codes == labels.seen[unknown[0]])[0]) + 1
        said = f"{unknown[0][:40]!r} is none of the classes" if unknown[0] else "there is no label"
        hint = f"classes: {', '.join(list(known)[:12])}" if known and unknown[0] else "every row needs its target"
        fail(f"{file.path}, row {row}, column {column!r}: {said}", file.span, hint)
    return np.array([order[label] for label in seen], "int64")[codes], tuple(order)


def _whole(text: str) -> int | None:
    try:
        value = float(text)
        return int(value) if value == int(value) and abs(value) < 2**31 else None
    except (ValueError, OverflowError):
        return None
