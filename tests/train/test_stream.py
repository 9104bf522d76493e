"""Examples that stay in their files: the same training to the bit, in bounded memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import TrainingError
from kbuild.model.backend import import_keras
from kbuild.train.data.arrays import Changed, Picked, Split, changed, is_resident, parts
from kbuild.train.data.files import FileRows
from kbuild.train.data.stream import Stream
from kbuild.train.failures import NonFinite
from kbuild.train.loop import Chunks, Loop, permutation
from tests.train.test_loop import small_model, values

ROWS, CLASSES, BATCH = 45, 3, 8


def streamed(folder: Path, array: np.ndarray, name: str = "x") -> FileRows:
    path = folder / f"{name}.npy"
    np.save(path, array)
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        start = stream.tell()
    return FileRows(path, start, array.shape, array.dtype)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Split, Split]:
    """The same examples in memory, and in a file (their labels and weights in memory)."""
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (ROWS, 5)).astype("uint8")
    y, weight = random.integers(0, CLASSES, ROWS), random.uniform(0, 2, ROWS).astype("float32")
    return (
        Split({"input": x}, {"out": y}, {"": weight}),
        Split({"input": streamed(tmp_path, x)}, {"out": y}, {"": weight}),
    )


def train(loop: Loop, epochs: int, clock: Callable[[], float]) -> list[dict[str, float]]:
    logs = []
    for epoch in range(epochs):
        loop.model.reset_metrics()
        order = loop.order(permutation(0, epoch, loop.rows))
        for begin, end in Chunks(clock=clock).bounds(0, loop.steps):
            assert loop.train_chunk(order, begin, end) == end
        logs.append(loop.metrics())
    return logs


@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 2: 3.0}])
def test_streamed_equals_resident_to_the_bit(both: tuple[Split, Split], class_weight: Any) -> None:
    logs, weights = [], []
    for split in both:
        keras: Any = import_keras()
        model = small_model()
        loop = Loop(model, split, BATCH, [keras.layers.GaussianNoise(0.1, seed=1)], class_weight)
        logs.append([*train(loop, 3, lambda: 0.0), loop.evaluate(split), loop.evaluate(split)])
        weights.append(values(model))
    assert logs[0] == logs[1]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_those_of_keras(both: tuple[Split, Split]) -> None:
    plain = small_model(dropout=0)
    split = both[0]
    expected = plain.evaluate(
        split.x["input"], split.y["out"], sample_weight=split.weight[""], batch_size=BATCH, verbose=0, return_dict=True
    )
    assert Loop(small_model(dropout=0), None, BATCH).evaluate(both[1]) == pytest.approx(expected, rel=1e-6)
    history = plain.fit(
        split.x["input"], split.y["out"], sample_weight=split.weight[""], batch_size=ROWS, shuffle=False, verbose=0
    )
    loop = Loop(small_model(dropout=0), split, ROWS)
    loop.train_chunk(loop.order(np.arange(ROWS)), 0, 1)
    assert loop.metrics()["loss"] == pytest.approx(history.history["loss"][0], rel=1e-6)


def test_weights_of_each_output() -> None:
    keras: Any = import_keras()

    def make() -> Any:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((2,), name="a")
        outputs = [keras.layers.Dense(1, name="one")(inputs), keras.layers.Dense(1, name="two")(inputs)]
        model = keras.Model(inputs, outputs)
        model.compile("sgd", loss=["mse", "mae"], weighted_metrics=[["mae"], ["mae"]])
        return model

    x, y = np.arange(12.0).reshape(6, 2).astype("float32"), np.ones((6, 1), "float32")
    first, second = np.arange(6, dtype="float32"), np.ones(6, "float32")
    split = Split({"a": x}, {"one": y, "two": y}, {"one": first, "two": second})
    expected = make().evaluate(x, [y, y], sample_weight=[first, second], verbose=0, return_dict=True, batch_size=4)
    got = Loop(make(), None, 4).evaluate(split)
    assert got == pytest.approx(expected, rel=1e-6)


def test_stops_at_the_step_whose_loss_is_not_finite(tmp_path: Path) -> None:
    keras: Any = import_keras()
    x = np.ones((ROWS, 5), "float32")
    x[3 * BATCH + 1] = np.nan
    split = Split({"input": streamed(tmp_path, x)}, {"out": np.zeros(ROWS, "int64")})
    loop = Loop(small_model(keras.optimizers.SGD(0.0)), split, BATCH)
    with pytest.raises(NonFinite) as caught:
        loop.train_chunk(loop.order(np.arange(ROWS)), 0, loop.steps)
    assert caught.value.step == 3


@pytest.mark.parametrize("index", [slice(0, 3), slice(5, None, 2), np.array([7, 8, 9, 2, 2, 0]), np.array([], int)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "bool"])
def test_rows_of_a_file(tmp_path: Path, index: Any, dtype: str) -> None:
    array = (np.arange(60).reshape(10, 2, 3) % 7).astype(dtype)
    rows = streamed(tmp_path, array)
    assert rows.dtype.isnative
    assert not is_resident(rows)
    np.testing.assert_array_equal(rows[index], array[index])
    picked = Split({"a": rows}, {"b": np.arange(10)}).take(np.array([1, 5, 9]))
    assert isinstance(picked.x["a"], Picked)
    np.testing.assert_array_equal(picked.read(slice(1, 3)).x["a"], array[[5, 9]])
    np.testing.assert_array_equal(picked.y["b"], [1, 5, 9])


def test_changes_are_applied_to_what_is_read(tmp_path: Path) -> None:
    rows = changed(streamed(tmp_path, np.arange(6)), lambda part: part[:, None].astype("float32"))
    assert isinstance(rows, Changed)
    assert (rows.shape, rows.dtype) == ((6, 1), np.dtype("float32"))
    assert [start for start, _ in parts(rows)] == [0]
    np.testing.assert_array_equal(rows[np.array([3, 1])], [[3], [1]])


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    rows = streamed(tmp_path, np.ones((1000, 4)))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(10_000)
    with pytest.raises(TrainingError, match=r"x.npy was cut short while it was in use: row 900 is not there any more"):
        rows[np.array([900])]


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    rows = streamed(tmp_path, np.ones((10, 4)))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.seek(-8, 2)
        file.write(bytes(8))
    os.utime(tmp_path / "x.npy", ns=(0, 0))  # a clock may be too coarse to tell
    with pytest.raises(TrainingError, match=r"x.npy was changed while it was in use"):
        rows[:2]


class Counted:
    """Rows that know how many batches were asked for and not yet taken."""

    shape, dtype = (1000, 3), np.dtype("float32")

    def __init__(self) -> None:
        self.read, self.threads = 0, set()

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: Any) -> np.ndarray:
        self.read += 1
        self.threads.add(threading.current_thread().name)
        if 990 in index:
            raise TrainingError("row 990 is gone")
        return np.repeat(np.asarray(index, "float32")[:, None], 3, 1)


def test_batches_are_read_ahead_and_no_further() -> None:
    rows = Counted()
    stream = Stream(Split({"x": rows}, {"y": np.arange(1000)}), 10, lambda batch: batch)
    order = np.arange(1000)[::-1]
    taken = 0
    for batch in stream.batches(order, 1, 30):
        taken += 1
        assert batch.y["y"].tolist() == order[taken * 10 : taken * 10 + 10].tolist() == batch.x["x"][:, 0].tolist()
        assert rows.read <= taken + stream.ahead
    assert taken == 29
    assert all(name.startswith("kbuild-data") for name in rows.threads)
    before = rows.read
    assert [batch.y["y"][0] for batch in stream.batches(order, 30, 31)] == [order[300]]
    assert rows.read <= before + 1  # it was read already


def test_an_error_of_a_thread_is_the_error() -> None:
    stream = Stream(Split({"x": Counted()}, {"y": np.arange(1000)}), 10, lambda batch: batch)
    with pytest.raises(TrainingError, match="row 990 is gone"):
        list(stream.batches(np.arange(1000), 95, 100))
    assert len(list(stream.batches(np.arange(1000), 0, 3))) == 3
