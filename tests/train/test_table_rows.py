"""Columns of a table in a temporary file: a disk without room for it."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import numpy as np
import pytest

from kbuild.errors import TrainingError
from kbuild.train.data import memory
from kbuild.train.data.table_rows import Store

pytest.importorskip("pyarrow")

NUMBERS = np.arange(4_000.0)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables lie in files, and the length that files may have is put back."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stored() -> int:
    """Write a table; the bytes of its file."""
    store = Store(1)
    store.add([NUMBERS])
    store.finish()
    assert (store.column(0)[5:7] == NUMBERS[5:7]).all()
    return int(store._file.tell())


def test_a_disk_that_fills_is_named_however_little_is_missing(limit: None) -> None:
    size, (_, most) = stored(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 1_000, size // 2, size - 300, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        with pytest.raises(TrainingError, match=r"cannot write the table to .*: File too large"):
            stored()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    assert stored() == size
