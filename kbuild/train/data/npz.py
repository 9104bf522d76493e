"""NumPy files, .npz and .npy: read without pickle, sizes bounded before memory is used."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from kbuild.errors import Problem, Span, SpecError, suggest
from kbuild.train.data.files import FileRows
from kbuild.train.data.memory import memory

#: Bounds by the name the error shows: bytes of one array in memory, number of arrays.
LIMITS = {"array-bytes": memory(), "arrays": 10_000}

#: What is wrong with the bytes of an array.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    NotImplementedError,
    RuntimeError,
)


def fail(message: str, span: Span | None, hint: str = "", code: str = "data") -> Any:
    """Raise one Problem about data."""
    raise SpecError([Problem(code, message, span, hint)])


@dataclass(frozen=True)
class Stored:
    """An array as its header describes it.

    Attributes:
        start: where the rows begin in the file on disk; None where they are compressed, or not in C order.
        path: of the file on disk.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int | None
    path: Path

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays(Protocol):
    """Arrays by name: an archive, or a number of files."""

    path: Path
    span: Span | None
    members: dict[str, Any]

    def open(self, name: str) -> IO[bytes]:
        """The bytes of the array, header first."""

    def size(self, name: str) -> int:
        """Bytes that the array has, header included."""

    def data_start(self, name: str) -> tuple[Path, int | None]:
        """The file on disk, and where the bytes of the array begin in it, if they lie there as they are."""


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

    def open(self, name: str) -> IO[bytes]:
        return self.zip.open(self.members[name])

    def size(self, name: str) -> int:
        return self.zip.getinfo(self.members[name]).file_size

    def data_start(self, name: str) -> tuple[Path, int | None]:
        info = self.zip.getinfo(self.members[name])
        if info.compress_type != zipfile.ZIP_STORED:
            return self.path, None
        with self.path.open("rb") as stream:  # the local header; its extra field may differ from the directory's
            stream.seek(info.header_offset + 26)
            lengths = struct.unpack("<HH", stream.read(4))
        return self.path, info.header_offset + 30 + sum(lengths)

    def read(self, name: str, span: Span | None) -> np.ndarray:
        """The array of that name, in memory."""
        return read_array(self, name, span)


class Files:
    """Files .npy, by name.

    Args:
        source: a folder, or name → file.
        folder: what paths are relative to.

    Raises:
        SpecError: the folder is missing or none, more arrays than the limit.
    """

    def __init__(self, source: str | dict[str, str], folder: Path, span: Span | None):
        self.span = span
        if isinstance(source, dict):
            self.path, self.members = folder, {name: folder / file for name, file in source.items()}
            return
        self.path = folder / source
        if not self.path.is_dir():
            hint = "paths are relative to the spec's file"
            hint = f"write {{npy: {{x_train: {source}, y_train: ...}}}}" if self.path.is_file() else hint
            fail(f"there is no folder {self.path} of .npy files", span, hint)
        try:
            files = sorted(file for file in self.path.iterdir() if file.suffix == ".npy")
        except OSError as error:
            fail(f"cannot read {self.path}: {error.strerror or error}", span)
        self.members = {file.stem: file for file in files}
        if len(self.members) > LIMITS["arrays"]:
            fail(f"{self.path} holds more arrays than the limit arrays ({LIMITS['arrays']})", span)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None: ...

    def open(self, name: str) -> IO[bytes]:
        return self.members[name].open("rb")

    def size(self, name: str) -> int:
        return self.members[name].stat().st_size

    def data_start(self, name: str) -> tuple[Path, int | None]:
        return self.members[name], 0


@contextmanager
def _naming(arrays: Arrays, name: str, span: Span | None) -> Iterator[None]:
    """Damage told as a problem of this array."""
    member = arrays.members[name]
    called = f"{arrays.path}: cannot read the array {name!r}" if isinstance(member, str) else f"cannot read {member}"
    try:
        yield
    except FileNotFoundError:
        fail(f"there is no file {member}", span, "paths are relative to the spec's file")
    except IsADirectoryError:
        fail(f"{member} is a directory, not a .npy file", span)
    except _DAMAGE as error:
        fail(f"{called}: {error}", span)
    except MemoryError:
        fail(f"{arrays.path}: the array {name!r} does not fit in memory", span)


def stored(arrays: Arrays, name: str, span: Span | None) -> Stored:
    """The header of an array, checked against the bytes that are there.

    Raises:
        SpecError: no such array, objects, no numbers, damaged or cut off.
    """
    span = span or arrays.span
    if name not in arrays.members:
        known = ", ".join(list(arrays.members)[:12]) or "no arrays"
        near = [member for member in arrays.members if member[:1].lower() == name[:1].lower()]
        fail(f"{arrays.path} has no array {name!r}", span, suggest(name, near) or f"it holds {known}")
    with _naming(arrays, name, span), arrays.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        header, size = stream.tell(), arrays.size(name)
        path, start = arrays.data_start(name)
    if dtype.hasobject:
        hint = "save numbers: numpy.savez(file, x=array.astype('float32'))"
        fail(f"{arrays.path}: {name!r} holds Python objects, which are never unpickled", span, hint)
    if dtype.kind not in "biuf":
        fail(f"{arrays.path}: {name!r} holds {dtype}, not numbers", span)
    plain = start is not None and not (fortran and len(shape) > 1) and len(shape) > 0
    found = Stored(shape, dtype, start + header if plain and start is not None else None, path)
    if found.start is None and found.bytes > LIMITS["array-bytes"]:
        limit = f"the limit array-bytes ({LIMITS['array-bytes']})"
        fail(f"{arrays.path}: {name!r} has the shape {list(shape)}, {found.bytes} bytes, over {limit}", span)
    if size - header < found.bytes:
        fail(f"{arrays.path}: {name!r} is cut off: {max(0, size - header)} of {found.bytes} bytes", span)
    return found


def read_array(arrays: Arrays, name: str, span: Span | None) -> np.ndarray:
    """An array in memory, in the machine's byte order.

    Raises:
        SpecError: as `stored`; or it is larger than the memory.
    """
    header = stored(arrays, name, span)
    if header.bytes > LIMITS["array-bytes"]:
        limit = f"the limit array-bytes ({LIMITS['array-bytes']})"
        shape = list(header.shape)
        fail(f"{arrays.path}: {name!r} has the shape {shape}, {header.bytes} bytes, over {limit}", span or arrays.span)
    with _naming(arrays, name, span or arrays.span), arrays.open(name) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_rows(arrays: Arrays, name: str, span: Span | None) -> FileRows:
    """An array whose rows are read from its file as they are needed; its checksum is compared once.

    Raises:
        SpecError: as `stored`.
    """
    header = stored(arrays, name, span)
    assert header.start is not None
    with _naming(arrays, name, span or arrays.span):
        if isinstance(arrays, Archive):
            with arrays.open(name) as stream:
                while stream.read(2**20):  # zipfile compares the checksum at the end
                    pass
        return FileRows(header.path, header.start, header.shape, header.dtype)
    raise AssertionError("unreachable")
