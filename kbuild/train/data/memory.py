"""How much of a data set is held in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from kbuild.train.data.arrays import Rows, parts

#: The part of the memory that the arrays of one source may take; what is larger is read from its files in batches.
RESIDENT_SHARE = 0.25

#: Where Linux says what a container may use (version 2 and 1 of control groups).
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int:
    """Bytes of memory this process may use: of the machine, or less where a limit is set; 64 GiB where nobody says.

    >>> memory() > 2**20
    True
    """
    found = [64 * 2**30]
    with suppress(AttributeError, ValueError, OSError):
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _GROUPS:
        with suppress(OSError, ValueError):  # no such group, or the word `max`
            found.append(int(path.read_text()))
    return max(0, min(*found, *_room()))


def _room() -> list[int]:
    """Bytes that limits of this process leave it (address space and data, which /proc/self/statm counts in pages)."""
    try:
        import resource

        pages = [int(word) * resource.getpagesize() for word in Path("/proc/self/statm").read_text().split()]
    except (ImportError, OSError):  # no Unix, or one without /proc
        return []
    taken = {resource.RLIMIT_AS: pages[0], resource.RLIMIT_DATA: pages[5]}
    limits = {kind: resource.getrlimit(kind)[0] for kind in taken}
    return [limit - taken[kind] for kind, limit in limits.items() if limit != resource.RLIM_INFINITY]


def in_memory(sizes: Sequence[int]) -> list[bool]:
    """Which values of these sizes in bytes are held in memory: the small ones first, as far as there is room.

    >>> in_memory([2**60, 8, 4])
    [False, True, True]
    """
    room, kept = memory() * RESIDENT_SHARE, [False] * len(sizes)
    for at in sorted(range(len(sizes)), key=lambda at: sizes[at]):
        room -= sizes[at]
        kept[at] = room >= 0
    return kept


def loaded(rows: Rows) -> np.ndarray:
    """All rows in memory, read part by part.

    >>> loaded(np.arange(6).reshape(3, 2)).tolist()
    [[0, 1], [2, 3], [4, 5]]
    """
    found = np.empty(rows.shape, rows.dtype)
    for start, part in parts(rows):
        found[start : start + len(part)] = part
    return found
