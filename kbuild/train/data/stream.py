"""Batches of examples that stay in their files: read by a few threads, ahead of the step that takes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from kbuild.train.data.arrays import Split

#: Threads that read: files and decoders wait for each other less than for the disk.
THREADS = max(2, min(8, os.cpu_count() or 2))

#: Bytes of batches that are read ahead at the most, though never fewer than two batches.
AHEAD_BYTES = 256 * 2**20


class Stream:
    """Batches of a split in an order.

    Args:
        split: examples of which some are not in memory. It may be replaced by another of the same shapes.
        size: rows of a batch; the last one of an order has what is left.
        make: what becomes of a batch in the thread that has read it.
        share: (begin, end) of a batch in the order → the part of it to read.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        make: Callable[[Split], Any],
        share: Callable[[int, int], tuple[int, int]] = lambda begin, end: (begin, end),
    ):
        self.split, self.size, self.make, self.share = split, size, make, share
        self._pool = ThreadPoolExecutor(THREADS, "kbuild-data")
        self._waiting: deque[Future[Any]] = deque()
        self._order: np.ndarray | None = None
        self._next = self._asked = 0

    def batches(self, order: np.ndarray, start: int, stop: int) -> Iterator[Any]:
        """The batches `start` to before `stop` of the rows in `order`.

        Reading goes on beyond `stop`: a call that begins there, with the same order, finds its batches read.

        Raises:
            TrainingError: a file is not what it was when it was checked.
        """
        if order is not self._order or start != self._next:
            self.rewind()
            self._order, self._next, self._asked = order, start, start
        try:
            while self._next < stop:
                self._ask()
                found = self._waiting.popleft().result()
                self._next += 1
                yield found
        except BaseException:
            self.rewind()
            raise

    def rewind(self) -> None:
        """Forget what was read ahead."""
        for future in self._waiting:
            future.cancel()
        for future in self._waiting:
            with suppress(BaseException):
                future.exception()
        self._waiting.clear()
        self._order, self._next = None, 0

    @property
    def ahead(self) -> int:
        """Batches that are read ahead."""
        row = sum(
            int(np.prod(values.shape[1:], dtype="int64")) * values.dtype.itemsize
            for side in self.split.sides.values()
            for values in side.values()
        )
        return max(2, min(2 * THREADS, AHEAD_BYTES // max(1, row * self.size)))

    def _ask(self) -> None:
        assert self._order is not None
        steps = -(-len(self._order) // self.size)
        while len(self._waiting) < self.ahead and self._asked < steps:
            begin = self._asked * self.size
            rows = self._order[slice(*self.share(begin, min(begin + self.size, len(self._order))))]
            self._waiting.append(self._pool.submit(self._read, self.split, rows))
            self._asked += 1

    def _read(self, split: Split, rows: np.ndarray) -> Any:
        return self.make(split.read(rows))
