"""NumPy files larger than the share of memory that data may take: rows read from the file, the same training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError
from kbuild.plan.losses import resolve_losses
from kbuild.train.data import memory
from kbuild.train.data.load import load_single
from kbuild.train.data.sources import data_at
from tests.train.rows import whole

SPEC = """\
name: large
input: {shape: [4, 4, 1]}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - Flatten
  - {Dense: {units: 6, activation: relu}}
  - {Dense: 3, name: out}
train:
  data: DATA
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  epochs: 2
  batch_size: 16
  validation: 0.25
"""


def arrays(rows: int = 100) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.normal(size=(rows, 4, 4)),
        "y_train": random.integers(0, 3, rows),
        "w": random.uniform(0.5, 2, rows),
        "x_test": random.normal(size=(20, 4, 4)),
        "y_test": random.integers(0, 3, 20),
    }


@pytest.fixture
def load(loaded: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def read(data: str, *overrides: str) -> Any:
        return loaded(SPEC.replace("DATA", data), *overrides)

    return read


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory that labels and weights fit, and inputs do not."""
    monkeypatch.setattr(memory, "memory", lambda: int(4000 / memory.RESIDENT_SHARE))


def write_npy(folder: Path) -> None:
    for name, array in arrays().items():
        np.save(folder / f"{name}.npy", array)


SOURCES = {
    "npz": ("{npz: a.npz, sample_weight: w}", lambda folder: np.savez(folder / "a.npz", **arrays())),
    "folder": ("{npy: ., sample_weight: w}", write_npy),
    "files": (
        "{npy: {x_train: x_train.npy, y_train: y_train.npy, x_test: x_test.npy, y_test: y_test.npy, u: w.npy}, "
        "sample_weight: u}",
        write_npy,
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_rows_from_the_file_are_the_rows_in_memory(
    load: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    data, write = SOURCES[source]
    write(tmp_path)
    resident = load(data)
    assert all(split.resident for split in resident.splits.values())
    monkeypatch.setattr(memory, "memory", lambda: int(4000 / memory.RESIDENT_SHARE))
    streamed = load(data)
    assert not streamed.train.resident
    assert isinstance(streamed.train.y["out"], np.ndarray)
    assert streamed.notes == resident.notes
    for name, split in resident.splits.items():
        assert (split.weight is None) == (name == "test")
        for side, named in split.sides.items():
            for key, expected in named.items():
                got = whole(streamed.splits[name].sides[side][key])
                assert got.dtype == expected.dtype
                np.testing.assert_array_equal(got, expected)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["x_train"].__setitem__((70, 1, 2), np.nan), r"x_train[70, 1, 2, 0] is nan; every value must be"),
        (lambda a: a["x_train"].__setitem__((7, 1, 2), 1e300), r"x_train[7, 1, 2, 0] is 1e+300, more than float32"),
        (lambda a: a["y_train"].__setitem__(99, 3), r"y_train[99] is 3, but 'out' has 3 units"),
        (lambda a: a["w"].__setitem__(5, -1), r"w[5] is -1.0; weights are finite numbers from 0"),
        (lambda a: a["w"].fill(0), r"w is 0 in every row"),
        (lambda a: a.update(w=a["w"][:7]), r"x_train has 100 rows, y_train has 100 rows, w has 7 rows"),
        (lambda a: a.update(w=np.ones((100, 2))), r"w has rows of the shape [2]; a weight is one number a row"),
    ],
)
def test_checks_look_at_every_row(
    load: Callable[..., Any], tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    changed = arrays()
    change(changed)
    np.savez(tmp_path / "a.npz", **changed)
    with pytest.raises(SpecError) as caught:
        load("{npz: a.npz, sample_weight: w}")
    assert any(message in problem.message for problem in caught.value.problems)


@pytest.mark.usefixtures("little")
def test_what_cannot_be_read_by_rows_is_held_in_memory(load: Callable[..., Any], tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    data = load("{npz: a.npz}")
    assert data.train.resident
    assert "x_train is compressed and is held in memory (12,800 bytes)" in data.notes
    write_npy(tmp_path)
    np.save(tmp_path / "x_train.npy", np.asfortranarray(arrays()["x_train"]))
    data = load("{npy: .}")
    assert data.train.resident
    assert "x_train is in Fortran order and is held in memory (12,800 bytes)" in data.notes


@pytest.mark.usefixtures("little")
def test_a_damaged_member_is_found_before_training(load: Callable[..., Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(SpecError, match="cannot read the array 'x_train': Bad CRC-32"):
        load("{npz: a.npz}")


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        ("{npy: none}", ["there is no folder", "of .npy files"]),
        ("{npy: x_train.npy}", ["there is no folder"]),
        ("{npy: ., x: ../x_train}", ["has no array '../x_train'"]),
        ("{npy: {x_train: no.npy, y_train: also.npy}}", ["there is no file", "no.npy", "also.npy"]),
        ("{npy: {x_train: ., y_train: y_train.npy}}", ["is a directory, not a .npy file"]),
        ("{npy: ., x: objects, y: text}", ["Python objects, which are never unpickled", "holds <U1, not numbers"]),
        ("{npy: ., x: cut, y: nonsense}", ["'cut' is cut off: 800 of 12800 bytes", "cannot read"]),
    ],
)
def test_all_that_is_wrong_is_told_at_once(
    load: Callable[..., Any], tmp_path: Path, data: str, messages: list[str]
) -> None:
    write_npy(tmp_path)
    np.save(tmp_path / "objects.npy", np.array([None] * 100), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array(["a"] * 100))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x_train.npy").read_bytes()[: 128 + 800])
    (tmp_path / "nonsense.npy").write_bytes(b"nonsense")
    with pytest.raises(SpecError) as caught:
        load(data)
    told = " ".join(problem.message for problem in caught.value.problems)
    assert all(message in told for message in messages)
    assert len(caught.value.problems) <= 2


def test_a_folder_to_evaluate_on(compiled: Callable[..., Any], tmp_path: Path) -> None:
    write_npy(tmp_path)
    spec, plan = compiled(SPEC.replace("DATA", "{npy: ., x: x_train, sample_weight: w}"))
    (tmp_path / "held").mkdir()
    for name in ("x", "y"):
        np.save(tmp_path / "held" / f"{name}.npy", arrays()[f"{name}_test"])
    settings = data_at(tmp_path / "held", spec.train.data)
    split = load_single(settings, plan, resolve_losses(spec.train, plan), Path(), [])
    assert split.rows == 20
    assert split.weight is None


@pytest.mark.usefixtures("little")
def test_a_whole_training_is_the_same(compiled: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Training, recalibration, evaluation and export; then evaluate and diagnose, all on rows of a file."""
    from kbuild.diagnose.diagnosis import diagnose
    from kbuild.train.evaluate import evaluate
    from kbuild.train.run import train

    np.savez(tmp_path / "a.npz", **arrays())
    found = []
    for name, size in (("streamed", 4000), ("resident", 10**9)):
        monkeypatch.setattr(memory, "memory", lambda size=size: int(size / memory.RESIDENT_SHARE))
        spec, plan = compiled(SPEC.replace("DATA", "{npz: a.npz, sample_weight: w}"), "train.recalibrate=true")
        run = train(spec, plan, run_dir=tmp_path / name, quiet=True)
        made, _ = diagnose(tmp_path / name)
        found.append([run.metrics, evaluate(tmp_path / name, quiet=True)["metrics"], made.metrics, made.metrics_after])
    assert found[0] == found[1]


def test_trials_of_a_study_are_the_same(compiled: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    from kbuild.study.design import Trial
    from kbuild.study.session import Session

    np.savez(tmp_path / "a.npz", **arrays())
    found = []
    for size in (4000, 10**9):
        monkeypatch.setattr(memory, "memory", lambda size=size: int(size / memory.RESIDENT_SHARE))
        spec, plan = compiled(SPEC.replace("DATA", "{npz: a.npz, sample_weight: w}"))
        session = Session(spec, plan, spec.train)
        found.append([session.run(Trial(f"a-{seed}", "a", seed)).metrics for seed in (0, 1)])
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_a_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    assert memory.memory() > 2**30
    taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    monkeypatch.setattr(
        resource, "getrlimit", lambda kind: (taken + 2**26 if kind == resource.RLIMIT_DATA else -1,) * 2
    )
    assert 2**25 < memory.memory() <= 2**26 + 2**20
    assert memory.in_memory([2**22, 2**25]) == [True, False]
