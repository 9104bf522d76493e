"""Files that `-o` names: none that is there is replaced unasked, and none is ever half written."""

from __future__ import annotations

import os
from pathlib import Path

from kbuild.errors import InputError


def free(path: Path | None, overwrite: bool) -> None:
    """Look, before any work is done, whether the file may be written.

    Raises:
        InputError: it is a directory, or is there and may not be replaced.
    """
    if path is not None and path.is_dir():
        raise InputError(f"{path} is a directory; name the file to write")
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it")


def write(path: Path, text: str) -> None:
    """Write a text whole, to a temporary name first, with the folders that lead to it.

    Raises:
        InputError: it cannot be written.
        TrainingError: the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device, which no file takes the place of
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()
        temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o777)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        from kbuild.files import refusal

        raise refusal(f"cannot write {path}", error) from error
