"""Hashes of the data: equal for equal values, in memory or read from their files; another for any other value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError
from kbuild.train.data import memory
from kbuild.train.data.arrays import Data
from kbuild.train.fingerprint import Fingerprints
from kbuild.train.run import train
from tests.train import test_image_folder as pictures
from tests.train import test_large_arrays as arrays
from tests.train import test_table as tables
from tests.train import test_tfrecord as records


def write_pictures(folder: Path) -> None:
    pictures.write(folder / "all" / "train")
    pictures.write(folder / "all" / "test", {"ant": 1, "cat": 1})


def write_records(folder: Path) -> None:
    records.write(folder / "a.tfrecord", [records.example(i) for i in range(5)])
    records.write(folder / "b.tfrecord", [records.example(i) for i in range(5, 9)])


def write_parquet(folder: Path) -> None:
    from pyarrow import csv, parquet

    (folder / "people.csv").write_text(tables.people(60))
    parquet.write_table(csv.read_csv(folder / "people.csv"), folder / "people.parquet")
    (folder / "people.csv").unlink()


#: Deterministic kernels cannot be switched off again within a process, and later tests compare bits too.
TABLE = tables.SPEC.replace("  deterministic: true\n", "")

#: Source → the spec, and what writes its files.
SOURCES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    **{name: (arrays.SPEC.replace("DATA", data), write) for name, (data, write) in arrays.SOURCES.items()},
    "image_folder": (pictures.SPEC.replace("DATA", "{image_folder: all, color: grayscale}"), write_pictures),
    "tfrecord": (
        records.SPEC.replace("FILES", "[a.tfrecord, b.tfrecord]").replace("validation: 0", "validation: 0.3"),
        write_records,
    ),
    "csv": (TABLE, lambda folder: (folder / "people.csv").write_text(tables.people(60))),
    "parquet": (TABLE.replace("csv: people.csv", "parquet: people.parquet"), write_parquet),
}


@pytest.mark.parametrize("source", SOURCES)
def test_streamed_data_have_the_hashes_of_resident_data(
    loaded: Callable[..., Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    text, write = SOURCES[source]
    write(tmp_path)
    resident = loaded(text)
    assert all(split.resident for split in resident.splits.values())
    held = Fingerprints(resident).to_dict()
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0)
    streamed = loaded(text)
    assert not any(split.resident for split in streamed.splits.values())
    Fingerprints(streamed).check(held)
    assert len({one["hash"] for one in held.values()}) == len(held)


def test_another_value_is_another_hash_both_ways(
    loaded: Callable[..., Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, write = SOURCES["npz"]
    write(tmp_path)
    held = Fingerprints(loaded(text)).to_dict()
    changed = arrays.arrays()
    changed["x_test"][19, 3, 3] += 1e-3
    np.savez(tmp_path / "a.npz", **changed)
    for share in (memory.RESIDENT_SHARE, 0):
        monkeypatch.setattr(memory, "RESIDENT_SHARE", share)
        with pytest.raises(InputError, match=r"since the run began: test holds other values in its 20 rows$"):
            Fingerprints(loaded(text)).check(held)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["resident", "streamed"])
@pytest.mark.parametrize("source", ["npz", "image_folder", "tfrecord", "csv"])
def test_a_run_goes_on_with_other_memory(
    compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, first: str
) -> None:
    """Begun with the data in memory and ended with them streamed, or the other way: the bits of a run in one piece."""
    text, write = SOURCES[source]
    write(tmp_path)
    spec, plan = compiled(text)
    shares = (memory.RESIDENT_SHARE, 0)
    whole = train(spec, plan, epochs=2, run_dir=tmp_path / "whole", quiet=True)
    for share, epochs in zip(shares if first == "resident" else shares[::-1], (1, 2), strict=True):
        monkeypatch.setattr(memory, "RESIDENT_SHARE", share)
        run = train(spec, plan, epochs=epochs, run_dir=tmp_path / "run", resume=True, quiet=True)
    history = [(one.run_dir / "history.csv").read_bytes() for one in (whole, run)]
    assert history[0] == history[1]
    assert run.metrics == whole.metrics
