"""NumPy archives (.npz): read without pickle, sizes bounded before memory is used."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError, suggest
from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Named, Raw, Split


def _memory() -> int:
    """Bytes of memory of this machine, or 64 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 64 * 2**30


#: Bounds by the name the error shows: bytes of one array, number of arrays.
LIMITS = {"array-bytes": _memory(), "arrays": 10_000}

#: Option → the array it names when the spec says nothing.
DEFAULTS = {"x": "x_train", "y": "y_train", "x_test": "x_test", "y_test": "y_test"}

#: Names tried in turn for data that are one set of examples: a validation file, a file to evaluate.
SINGLE = {"x": ("x_val", "x_test", "x", "x_train"), "y": ("y_val", "y_test", "y", "y_train")}


def fail(message: str, span: Span | None, hint: str = "", code: str = "data") -> Any:
    """Raise one Problem about data."""
    raise SpecError([Problem(code, message, span, hint)])


class Archive:
    """An opened .npz whose members are read one at a time.

    Raises:
        SpecError: missing, a directory, not a NumPy archive, more arrays than the limit.
    """

    def __init__(self, path: Path, span: Span | None):
        self.path, self.span = path, span
        if path.is_dir():
            fail(f"{path} is a directory, not a NumPy archive", span)
        try:
            self.zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            fail(f"there is no file {path}", span, "paths are relative to the spec's file")
        except zipfile.BadZipFile:
            hint = "a .npy file holds one array; numpy.savez writes archives" if path.suffix == ".npy" else ""
            fail(f"{path} is not a NumPy archive (.npz)", span, hint)
        except OSError as error:
            fail(f"cannot read {path}: {error.strerror or error}", span)
        self.members = {n.removesuffix(".npy"): n for n in self.zip.namelist() if n.endswith(".npy")}
        if len(self.members) > LIMITS["arrays"]:
            fail(f"{path} holds more arrays than the limit arrays ({LIMITS['arrays']})", span)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def read(self, name: str, span: Span | None) -> np.ndarray:
        """The array of that name."""
        if name not in self.members:
            known = ", ".join(list(self.members)[:12]) or "no arrays"
            near = [member for member in self.members if member[:1].lower() == name[:1].lower()]
            hint = suggest(name, near) or f"it holds {known}"
            fail(f"{self.path} has no array {name!r}", span or self.span, hint)
        try:
            with self.zip.open(self.members[name]) as stream:
                shape, dtype = self._header(stream, name)
            size = math.prod(shape) * dtype.itemsize
            if size > LIMITS["array-bytes"]:
                limit = f"the limit array-bytes ({LIMITS['array-bytes']})"
                fail(
                    f"{self.path}: {name!r} has the shape {list(shape)}, {size} bytes, over {limit}", span or self.span
                )
            stored = self.zip.getinfo(self.members[name]).file_size
            if stored < size:
                fail(f"{self.path}: {name!r} is cut off: {stored} of {size} bytes", span or self.span)
            with self.zip.open(self.members[name]) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as e:
            fail(f"{self.path}: cannot read the array {name!r}: {e}", span or self.span)
        except MemoryError:
            fail(f"{self.path}: the array {name!r} does not fit in memory", span or self.span)
        raise AssertionError("unreachable")

    def _header(self, stream: Any, name: str) -> tuple[tuple[int, ...], np.dtype]:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            hint = "save numbers: numpy.savez(file, x=array.astype('float32'))"
            fail(f"{self.path}: {name!r} holds Python objects, which are never unpickled", self.span, hint)
        if dtype.kind not in "biuf":
            fail(f"{self.path}: {name!r} holds {dtype}, not numbers", self.span)
        return shape, dtype


def read_npz(data: DataSettings, folder: Path) -> Raw:
    """Training and test arrays of an archive. The test arrays may be absent where the spec does not name them.

    Raises:
        SpecError: with the place in the spec and the name of the array.
    """
    path = folder / data.source
    place = data.place("npz")
    names: dict[tuple[str, str, str], str] = {}
    with Archive(path, place) as archive:

        def part(split: str, side: str, option: str) -> Named:
            wanted = data.options.get(option, DEFAULTS[option])
            pairs = wanted.items() if isinstance(wanted, dict) else [("", wanted)]
            names.update({(split, side, layer): array for layer, array in pairs})
            return {layer: archive.read(array, data.spans.get(option)) for layer, array in pairs}

        train = Split(part("train", "x", "x"), part("train", "y", "y"))
        asked = [option for option in ("x_test", "y_test") if option in data.options]
        there = [option for option in ("x_test", "y_test") if DEFAULTS[option] in archive.members]
        test = None
        if asked or len(there) == 2:
            test = Split(part("test", "x", "x_test"), part("test", "y", "y_test"))
    return Raw(str(path), train, test, names)


def read_single(data: DataSettings, folder: Path) -> Raw:
    """One set of examples: x and y under their written names, or the first of SINGLE that is there."""
    path = folder / data.source
    names: dict[tuple[str, str, str], str] = {}
    with Archive(path, data.place("npz")) as archive:

        def part(side: str) -> Named:
            found = next((name for name in SINGLE[side] if name in archive.members), SINGLE[side][2])
            wanted = data.options.get(side, found)
            if data.span is None and isinstance(wanted, str) and wanted not in archive.members:
                wanted = found  # the name is that of the run's own data, and nobody has asked for it here
            pairs = wanted.items() if isinstance(wanted, dict) else [("", wanted)]
            names.update({("train", side, layer): array for layer, array in pairs})
            return {layer: archive.read(array, data.spans.get(side)) for layer, array in pairs}

        return Raw(str(path), Split(part("x"), part("y")), None, names)
