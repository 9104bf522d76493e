"""Files as they were when they were read: what tells, at the price of a look, that one is not the same any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbuild.errors import TrainingError

#: Files that are told by name.
_NAMED = 20

#: Keeps what a file system says within the numbers of an array.
_BITS = 2**63 - 1


@dataclass(frozen=True)
class Seen:
    """Files that were looked at.

    Attributes:
        root: what the names are below; "" where they are paths.
        names: of the files.
        facts: for each file its size in bytes, when it was written last in nanoseconds, and its inode; zeros for one
            that was not there. Shape (files, 3).
    """

    root: str
    names: tuple[str, ...]
    facts: np.ndarray

    def path(self, at: int) -> str:
        """Of one of the files."""
        return os.path.join(self.root, self.names[at])

    def take(self, index: np.ndarray) -> Seen:
        """Some of the files, by number or by a mask."""
        numbers = np.arange(len(self.names))[index]
        return Seen(self.root, tuple(self.names[at] for at in numbers), self.facts[numbers])

    def check(self, at: int, descriptor: int) -> None:
        """Compare an open file with what was seen, after it was read.

        Raises:
            TrainingError: it is another one.
        """
        if _facts(os.fstat(descriptor)) != tuple(self.facts[at]):
            raise changed_in_use(self.path(at))


def changed_in_use(path: object) -> TrainingError:
    """A file that is read on the way is not what it was."""
    return TrainingError(f"{path} was changed while it was in use; train again from the file as it is now")


def look(names: Iterable[object], root: object = "") -> Seen:
    """Look at files, before they are read.

    >>> look(["no such file"]).facts.tolist()
    [[0, 0, 0]]
    """
    every = tuple(map(str, names))
    facts = np.zeros((len(every), 3), "int64")
    for at, name in enumerate(every):
        facts[at] = _now(os.path.join(str(root), name))
    return Seen(str(root), every, facts)


def differences(seen: Sequence[Seen]) -> list[str]:
    """What is not as it was, a sentence a file.

    >>> seen = look(["no such file"])
    >>> differences([seen]), differences([Seen("", seen.names, seen.facts + 1)])
    ([], ['no such file is not there any more'])
    """
    said: dict[str, str] = {}
    for files in seen:
        for at, facts in enumerate(files.facts):
            path = files.path(at)
            now = _now(path)
            if path not in said and now != tuple(facts):
                said[path] = f"{path} {'was changed' if any(now) else 'is not there any more'}"
    found = list(said.values())
    return found if len(found) <= _NAMED else [*found[:_NAMED], f"so it is with {len(found) - _NAMED:,} more files"]


def _facts(state: Any) -> tuple[int, int, int]:
    return state.st_size & _BITS, state.st_mtime_ns & _BITS, state.st_ino & _BITS


def _now(path: str) -> tuple[int, int, int]:
    try:
        return _facts(os.stat(path))
    except OSError:
        return 0, 0, 0
