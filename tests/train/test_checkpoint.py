"""A checkpoint holds everything: what is restored and trained on ends in the same bits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, TrainingError
from kbuild.model.backend import import_keras
from kbuild.spec.train import CheckpointEvery
from kbuild.train import saver
from kbuild.train.checkpoint import PREVIOUS, Progress, capture, load_checkpoint, read_state, write_state
from kbuild.train.data.arrays import Data, Split
from kbuild.train.loop import Loop
from kbuild.train.trainer import Trainer


def make_model() -> Any:
    keras: Any = import_keras()
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,), name="input")
    hidden = keras.layers.Dense(7, activation="relu")(inputs)
    hidden = keras.layers.Dropout(0.3, seed=5)(keras.layers.BatchNormalization()(hidden))
    model = keras.Model(inputs, keras.layers.Dense(3, name="out")(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], jit_compile=False)
    return model


@pytest.fixture(scope="module")
def data() -> Data:
    random = np.random.default_rng(0)

    def split(rows: int) -> Split:
        return Split({"input": random.normal(size=(rows, 5)).astype("float32")}, {"out": random.integers(0, 3, rows)})

    return Data(split(40), split(10), None)


def callbacks() -> list[Any]:
    keras: Any = import_keras()
    return [
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=10.0),
        keras.callbacks.EarlyStopping(patience=9, restore_best_weights=True),
    ]


def trainer(data: Data, folder: Path, epochs: int) -> Trainer:
    return Trainer(Loop(make_model(), data.train, 8), data, callbacks(), epochs, seed=4, checkpoints=folder)


def values(model: Any) -> list[np.ndarray]:
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables, *model.metrics_variables)]


def same_models(one: Trainer, other: Trainer) -> None:
    for a, b in zip(values(one.loop.model), values(other.loop.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_of_the_last_step_come_back(data: Data, tmp_path: Path) -> None:
    loop = Loop(make_model(), data.train, 8)
    loop.train_chunk(loop.order(np.arange(40)), 0, 3)
    write_state(tmp_path / "state.npz", capture(loop.model, [], Progress(epoch=0, step=3), []))
    fresh = Loop(make_model(), data.train, 8)
    assert load_checkpoint(tmp_path / "state.npz", fresh.model, [], []) == Progress(epoch=0, step=3)
    for one, other in zip(values(fresh.model), values(loop.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_value_comes_back(data: Data, tmp_path: Path) -> None:
    done = trainer(data, tmp_path, 3)
    done.run()
    fresh, restored = make_model(), callbacks()
    Loop(fresh, data.train, 8)
    progress = load_checkpoint(tmp_path / "last" / "state.npz", fresh, restored, [])
    assert (progress.epoch, progress.step, progress.history) == (3, 0, done.progress.history)
    assert (progress.best, progress.best_epoch) == (done.progress.best, done.progress.best_epoch)
    assert fresh.optimizer.iterations.numpy() == 15
    assert restored[0].min_delta == done.callbacks[0].min_delta
    assert restored[0].wait == done.callbacks[0].wait
    for one, other in zip(restored[1].best_weights, done.callbacks[1].best_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_resumed_equals_uninterrupted(data: Data, tmp_path: Path) -> None:
    """Stopped after an epoch; the learning rate was reduced by a callback on the way."""
    whole = trainer(data, tmp_path / "whole", 5)
    whole.run()
    trainer(data, tmp_path / "parts", 2).run()
    rest = trainer(data, tmp_path / "parts", 5)
    rest.run(resume=True)
    assert rest.progress.history == whole.progress.history
    assert whole.progress.history[-1]["learning_rate"] < whole.progress.history[0]["learning_rate"]
    same_models(rest, whole)


def test_resumed_in_the_middle_of_an_epoch(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kbuild.train.interrupt import Interrupted, StopSignal

    whole = trainer(data, tmp_path / "whole", 3)
    whole.run()
    first = trainer(data, tmp_path / "parts", 3)
    chunk, asked = first.loop.train_chunk, list[bool]()

    def interrupting(order: Any, start: int, stop: int) -> int:
        if first.progress.epoch == 1:
            asked.append(True)
            return chunk(order, start, start + 2)
        return chunk(order, start, stop)

    monkeypatch.setattr(first.loop, "train_chunk", interrupting)
    requested = property(lambda self: bool(asked), lambda self, value: None)
    monkeypatch.setattr(StopSignal, "requested", requested, raising=False)
    with pytest.raises(Interrupted, match="in epoch 2, after step 2 of 5; a checkpoint is written") as caught:
        first.run()
    assert caught.value.exit_code == 130
    monkeypatch.undo()
    rest = trainer(data, tmp_path / "parts", 3)
    rest.run(resume=True)
    assert rest.progress.history == whole.progress.history
    same_models(rest, whole)


def test_best_model_is_kept(data: Data, tmp_path: Path) -> None:
    keras: Any = import_keras()
    done = trainer(data, tmp_path, 4)
    done.run()
    before = values(done.loop.model)
    best = keras.saving.load_model(tmp_path / "best.keras", compile=False)
    best.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert data.validation is not None
    loss = best.evaluate(data.validation.x["input"], data.validation.y["out"], verbose=0, return_dict=True)["loss"]
    assert done.progress.best == min(row["val_loss"] for row in done.progress.history)
    assert loss == pytest.approx(done.progress.best, rel=1e-6)
    for one, other in zip(values(done.loop.model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_state_of_another_model_is_refused(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    model = make_model()
    Loop(model, data.train, 8)
    write_state(path, capture(model, [], Progress(), []))
    keras: Any = import_keras()
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    other.compile("adam", "mse")
    with pytest.raises(InputError, match="a checkpoint of another model"):
        load_checkpoint(path, other, [], [])
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_checkpoint(path, model, [], [])


def test_a_full_disk_keeps_the_state_before(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.npz"
    model = make_model()
    Loop(model, data.train, 8)
    write_state(path, capture(model, [], Progress(epoch=1), []))
    content = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"the disk is full: cannot write .*state\.npz"):
        write_state(path, capture(model, [], Progress(epoch=2), []))
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(epoch, step) of every state that is written from now on."""
    found: list[tuple[int, int]] = []

    def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
        write_state(path, arrays)
        state, _ = read_state(path)
        found.append((state["epoch"], state["step"]))

    monkeypatch.setattr(saver, "write_state", write)
    return found


def test_states_within_epochs_as_asked(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps an epoch, a state every three steps counted over all epochs, and one at the end."""
    monkeypatch.setattr(saver.Saver, "due", lambda self: False)
    found = written(monkeypatch)
    loop = Loop(make_model(), data.train, 8)
    every = CheckpointEvery(3)
    asked = Trainer(loop, data, callbacks(), 3, seed=4, checkpoints=tmp_path, checkpoint_every=every)
    asked.run()
    assert found == [(0, 3), (1, 1), (1, 4), (2, 2), (3, 0), (3, 0)]
    assert read_state(tmp_path / "last" / PREVIOUS)[0]["epoch"] == 3


def test_minutes_within_an_epoch(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver.Saver, "due", lambda self: False)
    monkeypatch.setattr(saver.Saver, "busy", False)
    found = written(monkeypatch)
    loop = Loop(make_model(), data.train, 8)
    Trainer(loop, data, [], 1, checkpoints=tmp_path, checkpoint_every=CheckpointEvery(minutes=1e-9)).run()
    assert found[-1] == (1, 0)
    assert len(found) > 1 and all(epoch == 0 and 0 < step < 5 for epoch, step in found[:-1])


def test_a_state_after_every_epoch_that_takes_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter ones share a state where it would cost more than its share of the time."""
    now = [0.0]
    monkeypatch.setattr(saver.time, "perf_counter", lambda: now[0])
    keeper = saver.Saver(tmp_path, make_model())
    keeper._costs["state"] = 0.02
    now[0] = 1.0
    assert keeper.due()
    now[0] = 0.5
    assert not keeper.due()
    keeper._costs["state"] = 0.005
    assert keeper.due()
    keeper.close()


def test_what_fails_in_the_thread_ends_the_training(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, arrays: object) -> None:
        raise TrainingError(f"the disk is full: cannot write {path}")

    monkeypatch.setattr(saver, "write_state", full)
    failing = trainer(data, tmp_path, 50)
    with pytest.raises(TrainingError, match="the disk is full"):
        failing.run()
    assert failing.progress.epoch < 50
