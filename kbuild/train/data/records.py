"""TFRecord files read by record: where each record lies is found out once, with a check of lengths and checksums.

The format (tensorflow/core/lib/io/record_writer.h): the length as 8 bytes, their masked CRC-32C, the bytes of the
record, their masked CRC-32C, little end first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kbuild.errors import Problem, Span, SpecError, TrainingError
from kbuild.model.backend import import_keras
from kbuild.train.data.seen import Seen, look

#: Bounds by the name the error shows.
LIMITS = {"records": 1_000_000_000}

_HEADER, _FOOTER = 12, 4


def _table() -> list[int]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return found


_CRC = _table()


def masked_crc(content: bytes) -> int:
    """The masked CRC-32C of TFRecord files.

    >>> masked_crc(bytes(8))
    127402793
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass(frozen=True)
class Records:
    """Records of some files, numbered through.

    Attributes:
        files: as they were before they were read.
        of: for each record the number of its file.
        numbers: for each record its number in the file, from 0.
        offsets, lengths: for each record where its bytes are.
    """

    files: Seen
    of: np.ndarray
    numbers: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.of)

    def place(self, row: int) -> str:
        """What a record is called in messages."""
        return f"{os.path.basename(self.files.path(self.of[row]))}, record {self.numbers[row]}"

    def read(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        """The bytes of records.

        Raises:
            TrainingError: a file is not what it was.
        """
        found: dict[int, bytes] = {}
        by_file: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            by_file.setdefault(int(self.of[row]), []).append(at)
        for file, places in by_file.items():
            path = self.files.path(file)
            try:
                with open(path, "rb", buffering=0) as stream:
                    for at in places:
                        row = rows[at]
                        found[at] = os.pread(stream.fileno(), int(self.lengths[row]), int(self.offsets[row]))
                        if len(found[at]) != self.lengths[row]:
                            raise TrainingError(f"{self.place(row)}: the file was cut short while it was in use")
                    self.files.check(file, stream.fileno())
            except OSError as error:
                raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error
        return [found[at] for at in range(len(rows))]

    def take(self, rows: np.ndarray) -> Records:
        """Some of the records."""
        return Records(self.files, self.of[rows], self.numbers[rows], self.offsets[rows], self.lengths[rows])


def index(files: Iterable[Path], span: Span | None) -> Records:
    """Find every record of some files, each checked against its checksums.

    Raises:
        SpecError: for each file that cannot be used the first record at fault.
    """
    paths = tuple(files)
    seen = look(paths)
    problems: list[Problem] = []
    parts = []
    for path in paths:
        try:
            parts.append(_index(path))
            _check_sums(path)
        except OSError as error:
            problems.append(Problem("data", f"cannot read {path}: {error.strerror or error}", span))
        except _Damaged as error:
            problems.append(Problem("data", f"{path}{error}", span, error.hint))
    if problems:
        raise SpecError(problems)
    counts = [len(offsets) for offsets, _ in parts]
    return Records(
        seen,
        np.repeat(np.arange(len(paths)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        np.concatenate([offsets for offsets, _ in parts]),
        np.concatenate([lengths for _, lengths in parts]),
    )


class _Damaged(Exception):
    """What is wrong with a file, and what to do."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint


def _index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Offset and length of every record."""
    offsets: list[int] = []
    lengths: list[int] = []
    with path.open("rb") as stream:
        size, at = os.fstat(stream.fileno()).st_size, 0
        if stream.read(2) == b"\x1f\x8b":
            raise _Damaged(" is compressed, and cannot be read by record", "unpack it with gunzip")
        while at < size:
            stream.seek(at)
            header = stream.read(_HEADER)
            if len(header) < _HEADER:
                raise _Damaged(f", record {len(offsets)}: the file ends inside it")
            length, crc = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc:
                what = "the file is no TFRecord file" if not offsets else "its length is damaged"
                raise _Damaged(f", record {len(offsets)}: {what}")
            if at + _HEADER + length + _FOOTER > size:
                raise _Damaged(f", record {len(offsets)}: the file ends inside it")
            offsets.append(at + _HEADER)
            lengths.append(length)
            at += _HEADER + length + _FOOTER
            if len(offsets) > LIMITS["records"]:
                raise _Damaged(f" holds more records than the limit records ({LIMITS['records']})")
    return np.array(offsets, "int64"), np.array(lengths, "int64")


def _check_sums(path: Path) -> None:
    """Let TensorFlow's reader compare the checksum of every record."""
    import_keras()
    import tensorflow as tf

    good = 0
    try:
        sizes = tf.data.TFRecordDataset(str(path)).map(tf.strings.length)
        for size in sizes.batch(1024).map(tf.size):
            good += int(size)
    except tf.errors.DataLossError as error:
        try:
            for _ in sizes.skip(good):
                good += 1
        except tf.errors.DataLossError:
            pass
        raise _Damaged(f", record {good}: it is damaged (its checksum does not match)") from error
