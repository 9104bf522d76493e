"""Arrays that a spec names, from NumPy files: small ones in memory, large ones as rows of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import Problem, Span, SpecError
from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw, Split
from kbuild.train.data.memory import in_memory
from kbuild.train.data.npz import Archive, Arrays, Files, Stored, read_array, read_rows, stored
from kbuild.train.data.seen import look

#: Option → the array it names when the spec says nothing.
DEFAULTS = {"x": "x_train", "y": "y_train", "x_test": "x_test", "y_test": "y_test"}

#: Names tried in turn for data that are one set of examples: a validation file, a file to evaluate.
SINGLE = {"x": ("x_val", "x_test", "x", "x_train"), "y": ("y_val", "y_test", "y", "y_train")}


@dataclass(frozen=True)
class _Wanted:
    """An array that the settings ask for."""

    split: str
    side: str
    layer: str
    array: str
    span: Span | None


def read_npz(data: DataSettings, folder: Path) -> Raw:
    """Training and test arrays of an archive. The test arrays may be absent where the spec does not name them.

    Raises:
        SpecError: with the place in the spec and the name of the array.
    """
    with Archive(folder / data.source, data.place("npz")) as archive:
        return _read(archive, data, _train_and_test)


def read_npy(data: DataSettings, folder: Path) -> Raw:
    """The same from .npy files.

    Raises:
        SpecError: with the place in the spec and the name of the file.
    """
    with Files(data.source, folder, data.place("npy")) as files:
        return _read(files, data, _train_and_test)


def read_single_npz(data: DataSettings, folder: Path) -> Raw:
    """One set of examples: x and y under their written names, or the first of SINGLE that is there."""
    with Archive(folder / data.source, data.place("npz")) as archive:
        return _read(archive, data, _single)


def read_single_npy(data: DataSettings, folder: Path) -> Raw:
    """The same from .npy files."""
    with Files(data.source, folder, data.place("npy")) as files:
        return _read(files, data, _single)


def _pairs(data: DataSettings, split: str, side: str, option: str, wanted: Any) -> list[_Wanted]:
    pairs = wanted.items() if isinstance(wanted, dict) else [("", wanted)]
    return [_Wanted(split, side, layer, array, data.spans.get(option)) for layer, array in pairs]


def _train_and_test(arrays: Arrays, data: DataSettings) -> list[_Wanted]:
    def part(split: str, side: str, option: str) -> list[_Wanted]:
        return _pairs(data, split, side, option, data.options.get(option, DEFAULTS[option]))

    found = [*part("train", "x", "x"), *part("train", "y", "y")]
    if "sample_weight" in data.options:
        found += _pairs(data, "train", "weight", "sample_weight", data.options["sample_weight"])
    asked = [option for option in ("x_test", "y_test", "sample_weight_test") if option in data.options]
    if asked or {"x_test", "y_test"} <= set(arrays.members):
        found += [*part("test", "x", "x_test"), *part("test", "y", "y_test")]
    if "sample_weight_test" in data.options:
        found += _pairs(data, "test", "weight", "sample_weight_test", data.options["sample_weight_test"])
    return found


def _single(arrays: Arrays, data: DataSettings) -> list[_Wanted]:
    found = []
    for side in ("x", "y"):
        there = next((name for name in SINGLE[side] if name in arrays.members), SINGLE[side][2])
        wanted = data.options.get(side, there)
        if data.span is None and isinstance(wanted, str) and wanted not in arrays.members:
            wanted = there  # the name is that of the run's own data, and nobody has asked for it here
        found += _pairs(data, "train", side, side, wanted)
    weight = data.options.get("sample_weight")
    names = weight.values() if isinstance(weight, dict) else [weight]
    if weight is not None and (data.span is not None or all(name in arrays.members for name in names)):
        found += _pairs(data, "train", "weight", "sample_weight", weight)
    return found


def _read(arrays: Arrays, data: DataSettings, wanted: Callable[[Arrays, DataSettings], list[_Wanted]]) -> Raw:
    """All that is wanted: small arrays in memory, large ones as rows of their files."""
    every = wanted(arrays, data)
    problems: list[Problem] = []

    def each(make: Callable[[_Wanted], Any]) -> list[Any]:
        found = []
        for one in every:
            try:
                found.append(make(one))
            except SpecError as error:
                problems.extend(problem for problem in error.problems if problem not in problems)
        if problems:
            raise SpecError(problems)
        return found

    headers: list[Stored] = each(lambda one: stored(arrays, one.array, one.span))
    files = look(dict.fromkeys(header.path for header in headers))
    kept = in_memory([header.bytes for header in headers])
    held = {id(one) for one, header, keep in zip(every, headers, kept, strict=True) if keep or header.start is None}
    notes = tuple(
        f"{one.array} is {'compressed' if header.path.suffix == '.npz' else 'in Fortran order'} and is held in memory"
        f" ({header.bytes:,} bytes)"
        for one, header, keep in zip(every, headers, kept, strict=True)
        if not keep and header.start is None
    )
    values = each(lambda one: (read_array if id(one) in held else read_rows)(arrays, one.array, one.span))
    sides: dict[str, dict[str, dict[str, Any]]] = {}
    for one, value in zip(every, values, strict=True):
        sides.setdefault(one.split, {}).setdefault(one.side, {})[one.layer] = value
    splits = {name: Split(**side) for name, side in sides.items()}
    names = {(one.split, one.side, one.layer): one.array for one in every}
    return Raw(str(arrays.path), splits["train"], splits.get("test"), names, notes=notes, files=(files,))
