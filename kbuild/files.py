"""Writing files whole: to a temporary name beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from kbuild.errors import InputError, KbuildError, TrainingError


class DiskFull(TrainingError):
    """The disk, or the user's part of it, is full: no fault of who named the file."""


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def refusal(what: str, error: OSError) -> KbuildError:
    """The error to raise where a file or directory that somebody named cannot be used."""
    return (DiskFull if _is_full(error) else InputError)(f"{what}: {error.strerror or error}")


@contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Turn an OSError of writing `path` into a TrainingError that says which file and why."""
    try:
        yield
    except OSError as error:
        if _is_full(error):
            raise DiskFull(f"the disk is full: cannot write {path}") from error
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def naming_any_failure() -> Iterator[None]:
    """Turn an OSError of code that reads and writes many files into a TrainingError with what the system says."""
    try:
        yield
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        reason = "the disk is full" if _is_full(error) else error.strerror or str(error)
        raise TrainingError(f"the training cannot go on{place}: {reason}") from error


@contextmanager
def replacing(path: Path, flush: bool = True, keep: Path | None = None) -> Iterator[BinaryIO]:
    """A binary stream; when left without an error, `path` holds all that was written to it, else what it held before.

    Args:
        flush: wait until the disk has it; not worth it for what is written anew every epoch.
        keep: where the file that `path` was before goes.

    Raises:
        OSError: a full disk, or whatever else the system says.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            if flush:
                os.fsync(stream.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def rewrite(path: Path, content: bytes) -> None:
    """Write a file of the user's whole: where a link leads, and with the mode that it has.

    Raises:
        OSError: a full disk, or whatever else the system says.
    """
    target = path.resolve()
    with replacing(target, flush=False) as stream:
        stream.write(content)
        if target.exists():
            Path(stream.name).chmod(target.stat().st_mode & 0o777)


@contextmanager
def writing(path: Path, flush: bool = True, keep: Path | None = None) -> Iterator[BinaryIO]:
    """`replacing`, for a file of a run.

    Raises:
        TrainingError: a full disk, or whatever else the system says, with the file's name.
    """
    with naming_failures(path), replacing(path, flush, keep) as stream:
        yield stream


def write_file(path: Path, write: Callable[[BinaryIO], Any], flush: bool = True, keep: Path | None = None) -> None:
    """Call `write` with the stream of `writing`."""
    with writing(path, flush, keep) as stream:
        write(stream)


def write_text(path: Path, text: str, flush: bool = True) -> None:
    """`write_file` for UTF-8 text."""
    write_file(path, lambda stream: stream.write(text.encode("utf-8")), flush)


def write_json(path: Path, data: Any) -> None:
    """`write_file` for JSON. NaN and infinities become null, for JSON has neither."""
    write_text(path, json.dumps(finite(data), indent=1, ensure_ascii=False) + "\n")


def finite(data: Any) -> Any:
    """The same data with None for every float that is not finite, and plain numbers for NumPy's."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    if hasattr(data, "item") and not isinstance(data, (str, bytes)):
        data = data.item()
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


def replace_directory(temporary: Path, target: Path) -> None:
    """Rename a finished directory onto `target`, which may exist."""
    with naming_failures(target):
        old = target.with_name(f".{target.name}.old-{os.getpid()}")
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
        shutil.rmtree(old, ignore_errors=True)
