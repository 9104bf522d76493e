"""The compiled loop computes what Keras computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kbuild.errors import TrainingError
from kbuild.model.backend import import_keras
from kbuild.train.data.arrays import Split
from kbuild.train.failures import NonFinite
from kbuild.train.fused import fuse_adam
from kbuild.train.loop import Chunks, Loop, flat, permutation

ROWS, CLASSES, BATCH = 45, 3, 8


def small_model(optimizer: Any = None, dropout: float = 0.3, loss: Any = None) -> Any:
    keras: Any = import_keras()
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,), name="input")
    hidden = keras.layers.Dense(7, use_bias=False)(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Activation("relu")(hidden)
    hidden = keras.layers.Dropout(dropout, seed=5)(hidden) if dropout else hidden
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="out", kernel_regularizer="l2")(hidden))
    model.compile(
        optimizer=optimizer or keras.optimizers.Adam(0.01),
        loss=loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


@pytest.fixture(scope="module")
def split() -> Split:
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (ROWS, 5)).astype("uint8")
    return Split({"input": x}, {"out": random.integers(0, CLASSES, ROWS)})


def values(model: Any) -> list[np.ndarray]:
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def train(loop: Loop, epochs: int, chunks: Callable[[], Chunks] = Chunks) -> list[dict[str, float]]:
    logs = []
    for epoch in range(epochs):
        loop.model.reset_metrics()
        order = loop.order(permutation(0, epoch, loop.rows))
        for begin, end in chunks().bounds(0, loop.steps):
            assert loop.train_chunk(order, begin, end) == end
        logs.append(loop.metrics())
    return logs


def test_equal_to_the_bit_to_train_on_batch(split: Split) -> None:
    """Losses, metrics, weights, moving statistics, seeds and the optimizer's state, the last batch being smaller."""
    ours, plain = small_model(), small_model()
    loop = Loop(ours, split, BATCH)
    for epoch in range(3):
        order = permutation(0, epoch, ROWS)
        for step in range(loop.steps):
            index = order[step * BATCH : (step + 1) * BATCH]
            plain.reset_metrics()  # older versions of Keras do not
            expected = plain.train_on_batch(split.x["input"][index], split.y["out"][index], return_dict=True)
            ours.reset_metrics()
            loop.train_chunk(loop.order(order), step, step + 1)
            assert loop.metrics() == {name: float(value) for name, value in expected.items()}
    for one, other in zip(values(ours), values(plain), strict=True):
        np.testing.assert_array_equal(one, other)


def test_chunks_do_not_change_the_result(split: Split) -> None:
    class Fives(Chunks):
        def bounds(self, start: int, steps: int) -> Any:
            return ((at, min(at + 5, steps)) for at in range(start, steps, 5))

    one, other = small_model(), small_model()
    assert train(Loop(one, split, BATCH), 2, lambda: Chunks(single=True)) == train(Loop(other, split, BATCH), 2, Fives)
    for a, b in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fused_adam_agrees_to_rounding(split: Split) -> None:
    keras: Any = import_keras()
    for make in (
        lambda: keras.optimizers.Adam(0.01, clipnorm=1.0),
        lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 100), weight_decay=0.01),
    ):
        plain, fused = small_model(make()), small_model(make())
        assert fuse_adam(fused.optimizer)
        before, after = train(Loop(plain, split, BATCH), 1), train(Loop(fused, split, BATCH), 1)
        assert before[0]["loss"] == pytest.approx(after[0]["loss"], rel=1e-4)
        for one, other in zip(values(plain), values(fused), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_fused_adam_leaves_others_alone() -> None:
    keras: Any = import_keras()
    assert not fuse_adam(keras.optimizers.SGD())
    assert not fuse_adam(keras.optimizers.Adam(amsgrad=True))
    assert not fuse_adam(keras.optimizers.Nadam())


def test_evaluation_equals_keras(split: Split) -> None:
    model = small_model()
    expected = model.evaluate(split.x["input"], split.y["out"], batch_size=BATCH, verbose=0, return_dict=True)
    before = [v.numpy() for v in model.variables]
    got = Loop(model, None, BATCH).evaluate(split)
    assert got == pytest.approx(expected, rel=1e-6)
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, other.numpy())


def test_class_weights_as_in_fit(split: Split) -> None:
    ours, plain = small_model(dropout=0), small_model(dropout=0)
    loop = Loop(ours, split, ROWS, class_weight={0: 1.0, 2: 4.0})
    loop.train_chunk(loop.order(np.arange(ROWS)), 0, 1)
    history = plain.fit(
        split.x["input"],
        split.y["out"],
        batch_size=ROWS,
        shuffle=False,
        verbose=0,
        class_weight={0: 1.0, 1: 1.0, 2: 4.0},
    )
    assert loop.metrics()["loss"] == pytest.approx(history.history["loss"][0], rel=1e-6)
    for one, other in zip(values(ours), values(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_augmentation_happens_in_training_only(split: Split) -> None:
    keras: Any = import_keras()
    split = Split({"input": split.x["input"].astype("float32") / 255}, split.y)
    plain = Loop(small_model(dropout=0), split, BATCH)
    noisy = Loop(small_model(dropout=0), split, BATCH, [keras.layers.GaussianNoise(1.0, seed=1)])
    assert noisy.variables
    assert noisy.evaluate(split) == plain.evaluate(split)
    losses = [train(loop, 1)[0]["loss"] for loop in (plain, noisy)]
    assert losses[0] != losses[1]


def test_stops_at_the_step_whose_loss_is_not_finite(split: Split) -> None:
    keras: Any = import_keras()
    x = split.x["input"].astype("float32")
    x[3 * BATCH + 1] = np.nan
    loop = Loop(small_model(keras.optimizers.SGD(0.0)), Split({"input": x}, split.y), BATCH)
    with pytest.raises(NonFinite) as caught:
        loop.train_chunk(loop.order(np.arange(ROWS)), 0, loop.steps)
    assert caught.value.step == 3


def test_out_of_memory_names_the_batch_size(split: Split) -> None:
    loop = Loop(small_model(), split, BATCH)

    def exhausted(*_: Any) -> Any:
        raise loop.tf.errors.ResourceExhaustedError(None, None, "OOM")

    loop._run = exhausted
    with pytest.raises(TrainingError, match="out of memory at batch size 8"):
        loop.train_chunk(loop.order(np.arange(ROWS)), 0, 1)


def test_several_inputs_and_outputs() -> None:
    keras: Any = import_keras()
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    both = keras.layers.Concatenate()([a, b])
    outputs = [keras.layers.Dense(2, name="z_first")(both), keras.layers.Dense(1, name="a_second")(both)]
    model = keras.Model([a, b], outputs)
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.losses.MeanSquaredError()]
    model.compile("sgd", loss=losses, metrics=[["accuracy"], ["mae"]])
    split = Split(
        {"a": np.ones((6, 2)), "b": np.ones((6, 3))}, {"z_first": np.arange(6) % 2, "a_second": np.ones((6, 1))}
    )
    loop = Loop(model, split, 4)
    logs = train(loop, 2)
    assert {"loss", "z_first_accuracy", "a_second_mae"} <= set(logs[0])
    assert logs[1]["loss"] < logs[0]["loss"]


def test_chunks_follow_the_clock() -> None:
    now = [0.0]
    chunks, sizes = Chunks(clock=lambda: now[0]), []
    for begin, end in chunks.bounds(0, 2000):
        sizes.append(end - begin)
        now[0] += 0.001 * (end - begin)
    assert sizes[:4] == [1, 1, 8, 64]
    assert max(sizes) in (199, 200, 201)
    assert sum(sizes) == 2000


def test_permutation_is_a_pure_function_of_seed_and_epoch() -> None:
    assert permutation(7, 3, 10).tolist() == PERMUTED
    assert sorted(permutation(7, 4, 10).tolist()) == list(range(10)) != permutation(7, 4, 10).tolist()


#: Written down so that another NumPy or machine that draws differently is noticed.
PERMUTED = [0, 9, 3, 6, 5, 1, 8, 7, 4, 2]


def test_flat() -> None:
    assert flat({"loss": 1, "out": {"a": 2}}) == {"loss": 1, "out_a": 2}
