"""Files that `-o` names: none that is there is replaced unasked, and none is ever half written."""

from __future__ import annotations

from pathlib import Path

from kbuild.errors import InputError
from kbuild.files import refusal, rewrite


def free(path: Path | None, overwrite: bool) -> None:
    """Look, before any work is done, whether the file may be written.

    Raises:
        InputError: it is a directory, or is there and may not be replaced.
    """
    if path is not None and path.is_dir():
        raise InputError(f"{path} is a directory; name the file to write")
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole, to a temporary name first, with the folders that lead to it.

    Raises:
        InputError: it cannot be written.
        TrainingError: the disk is full.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device, which no file takes the place of
            path.write_bytes(data)
        else:
            rewrite(path, data)
    except OSError as error:
        raise refusal(f"cannot write {path}", error) from error
