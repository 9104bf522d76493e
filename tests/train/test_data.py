"""Data: sources, splits, and a message for everything that does not fit."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError
from kbuild.train.data import npz

SPEC = """\
input: {shape: SHAPE}
layers:
  - Flatten
  - {Dense: HEAD, name: out}
train:
  data: {npz: data.npz}
  loss: LOSS
  validation: 0.25
"""


@pytest.fixture
def load(loaded: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Arrays, or bytes of data.npz → Data."""

    def read(
        arrays: dict[str, Any] | bytes | None,
        *overrides: str,
        shape: str = "[4]",
        head: str = "3",
        loss: str = "sparse_categorical_crossentropy",
        text: str = SPEC,
    ) -> Any:
        if isinstance(arrays, dict):
            np.savez(tmp_path / "data.npz", **arrays)
        elif arrays is not None:
            (tmp_path / "data.npz").write_bytes(arrays)
        text = text.replace("SHAPE", shape).replace("HEAD", head).replace("LOSS", loss)
        return loaded(text, *overrides)

    return read


def good(rows: int = 8, **changes: Any) -> dict[str, Any]:
    arrays = {
        "x_train": np.arange(rows * 4, dtype="uint8").reshape(rows, 4),
        "y_train": np.arange(rows) % 3,
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def test_digits(loaded: Callable[..., Any]) -> None:
    data = loaded()
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 1293, "validation": 144, "test": 360}
    (x,) = data.train.x.values()
    assert x.shape == (1293, 8, 8, 1)
    assert x.dtype == np.uint8
    assert data.notes[0] == "1,293 train, 144 validation, 360 test examples"
    assert data.notes[1] == "a channel axis of size 1 was added to the arrays of input"


def test_the_split_follows_from_the_seed(load: Callable[..., Any]) -> None:
    def parts(seed: int) -> tuple[list[int], list[int]]:
        data = load(good(40), f"train.seed={seed}")
        return data.train.x["input"][:, 0].tolist(), data.validation.x["input"][:, 0].tolist()

    assert parts(1) == parts(1)
    assert parts(1) != parts(2)
    train, validation = parts(1)
    assert sorted(train + validation) == list(range(0, 160, 4))
    assert len(validation) == 10


def test_no_validation(load: Callable[..., Any]) -> None:
    assert load(good(), "train.validation=0").validation is None


def test_validation_file(load: Callable[..., Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x_val=np.zeros((2, 4)), y_val=np.array([0, 1]))
    data = load(good(), "train.validation=v.npz")
    assert data.validation.rows == 2
    assert data.train.rows == 8


def test_renamed_arrays_and_several_inputs(loaded: Callable[..., Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", i=np.ones((6, 2)), j=np.ones((6, 3)), t=np.zeros((6, 1)))
    data = loaded(
        "inputs: {a: {shape: [2]}, b: {shape: [3]}}\n"
        "layers:\n  - {Concatenate: , from: [a, b], name: both}\n  - {Dense: 1, name: out}\n"
        "train: {data: {npz: d.npz, x: {a: i, b: j}, y: t}, loss: mse, validation: 0}\n"
    )
    assert {name: array.shape for name, array in data.train.x.items()} == {"a": (6, 2), "b": (6, 3)}


def test_class_without_examples_is_noted(load: Callable[..., Any]) -> None:
    assert load(good(y_train=np.zeros(8, int))).notes[-1] == "2 of 3 classes have no training example: 1, 2"


@pytest.mark.parametrize(
    ("arrays", "message", "hint"),
    [
        (None, "there is no file", "relative to the spec's file"),
        (b"not a zip", "is not a NumPy archive (.npz)", ""),
        (good(y_train=None), "has no array 'y_train'", "it holds x_train"),
        (good(y_train=None, y_trian=np.zeros(8)), "has no array 'y_train'", "did you mean 'y_trian'?"),
        (good(x_test=np.zeros((2, 4)), y_test=np.zeros(3, int)), "x_test has 2 rows, y_test has 3 rows", ""),
        (good(y_train=np.zeros(7, int)), "arrays of different length: x_train has 8 rows, y_train has 7 rows", ""),
        (good(rows=0), "x_train is empty", ""),
        (
            good(x_train=np.zeros((8, 5))),
            "x_train has rows of the shape [5], but the input 'input' takes [4]",
            "write `input: {shape: [5]}`",
        ),
        (good(x_train=np.full((8, 4), np.nan)), "x_train[0, 0] is nan; every value must be a finite number", ""),
        (good(x_train=np.where(np.arange(32).reshape(8, 4) == 17, np.inf, 1)), "x_train[4, 1] is inf", ""),
        (
            good(y_train=np.array([0, 1, 2, 3, 0, 1, 2, 3])),
            "y_train[3] is 3 (2 such values), but 'out' has 3 units: class numbers go from 0 to 2",
            "",
        ),
        (good(y_train=np.array([0, 1, 2, 0, -1, 1, 2, 0])), "y_train[4] is -1, but 'out' has 3 units", ""),
        (good(y_train=np.linspace(0, 1, 8)), "y_train[1] is 0.14", ""),
        (good(y_train=np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]), "takes class numbers", "one-hot rows: use the loss"),
        (good(y_train=np.array(["a"] * 8)), "holds <U1, not numbers", ""),
        (good(y_train=np.array(5)), "y_train is a single number", ""),
    ],
)
def test_what_does_not_fit(load: Callable[..., Any], arrays: Any, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(arrays)
    (problem,) = caught.value.problems
    assert problem.code == "data"
    assert message in problem.message
    assert hint in problem.hint
    assert problem.span is not None
    assert problem.span.line == 6
    assert caught.value.exit_code == 2


def test_targets_of_other_losses(load: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="use the loss sparse_categorical_crossentropy"):
        load(good(), loss="categorical_crossentropy")
    with pytest.raises(SpecError, match="BinaryCrossentropy takes values from 0 to 1"):
        load(good(), loss="binary_crossentropy", head="1")
    assert load(good(), loss="mse", head="1").train.y["out"].shape == (6, 1)
    with pytest.raises(SpecError, match="compares them one by one"):
        load(good(), loss="mse", head="2")


def test_objects_are_never_unpickled(load: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="Python objects, which are never unpickled"):
        load(good(y_train=np.array([None] * 8)))


def test_a_directory(load: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(SpecError, match="is a directory, not a NumPy archive"):
        load(None)


def archive(header: bytes, body: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)
    return stream.getvalue()


HUGE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000), }\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(HUGE, compression=zipfile.ZIP_DEFLATED), "limit array-bytes"),
        (archive(HUGE), "cut off: 0 of 800000000000000 bytes"),
        (archive(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10, 4), }\n", b"12"), "cut off: "),
        (archive(b"{'descr': '<f8', 'shape': (10, 4\n"), "cannot read the array 'x_train'"),
        (archive(b"nonsense"), "cannot read the array 'x_train'"),
    ],
)
def test_damaged_arrays(load: Callable[..., Any], content: bytes, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(content)


def test_number_of_arrays_is_bounded(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(npz.LIMITS, "arrays", 1)
    with pytest.raises(SpecError, match=r"more arrays than the limit arrays \(1\)"):
        load(good())


def test_keras_set_without_a_network(loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from kbuild.model.backend import import_keras

    keras: Any = import_keras()

    def fails() -> None:
        raise Exception("URL fetch failure on https://example.org: None -- no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fails)
    text = (
        SPEC.replace("SHAPE", "[28, 28]")
        .replace("HEAD", "10")
        .replace("{npz: data.npz}", "{keras: mnist}")
        .replace("LOSS", "sparse_categorical_crossentropy")
    )
    with pytest.raises(SpecError, match=r"mnist is not in ~/.keras/datasets and cannot be downloaded: URL fetch"):
        loaded(text)


def test_keras_set(loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from kbuild.model.backend import import_keras

    keras: Any = import_keras()
    part = np.zeros((4, 32, 32, 3), "uint8"), np.arange(4, dtype="uint8")[:, None]
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: (part, part))
    data = loaded(
        SPEC.replace("SHAPE", "[32, 32, 3]")
        .replace("HEAD", "10")
        .replace("{npz: data.npz}", "{keras: cifar10}")
        .replace("LOSS", "sparse_categorical_crossentropy")
    )
    assert data.test.y["out"].shape == (4,)
