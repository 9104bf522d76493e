"""TFRecord files: indexed, checked, parsed, streamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError, TrainingError
from kbuild.model.backend import import_keras
from kbuild.plan.losses import resolve_losses
from kbuild.train.data import memory
from kbuild.train.data.load import load_single
from kbuild.train.data.records import index
from kbuild.train.data.sources import data_at
from tests.train.rows import whole
from tests.train.test_image_folder import encode, pixels

SPEC = """\
input: {shape: [6, 5, 1], dtype: uint8}
layers:
  - Flatten
  - {Dense: 3, name: out}
train:
  data: {tfrecord: FILES, features: {image: {dtype: string, decode: png, shape: [6, 5, 1]}, label: int64, w: float32},
         x: image, y: label, sample_weight: w}
  loss: sparse_categorical_crossentropy
  epochs: 1
  validation: 0
"""


def value(item: Any) -> Any:
    import tensorflow as tf

    if isinstance(item, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[item]))
    items = np.atleast_1d(item)
    if items.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=items.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=items.ravel()))


def write(path: Path, examples: list[dict[str, Any] | bytes]) -> None:
    import_keras()
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in examples:
            if isinstance(one, dict):
                features = tf.train.Features(feature={name: value(item) for name, item in one.items()})
                one = tf.train.Example(features=features).SerializeToString()
            writer.write(one)


def example(i: int, **changes: Any) -> dict[str, Any]:
    made = {"image": encode(pixels(i, 6, 5)), "label": i % 3, "w": 0.5 + i}
    return {name: item for name, item in {**made, **changes}.items() if item is not None}


@pytest.fixture
def load(loaded: Callable[..., Any]) -> Callable[..., Any]:
    def read(files: str, *overrides: str, text: str = SPEC) -> Any:
        return loaded(text.replace("FILES", files), *overrides)

    return read


@pytest.mark.parametrize("resident", [True, False])
def test_files_one_after_the_other(
    load: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: bool
) -> None:
    write(tmp_path / "part-1.tfrecord", [example(i) for i in range(5)])
    write(tmp_path / "part-2.tfrecord", [example(i) for i in range(5, 7)])
    write(tmp_path / "test.tfrecord", [example(i) for i in range(7, 9)])
    if not resident:
        monkeypatch.setattr(memory, "memory", lambda: 0)
    data = load("part-*.tfrecord, test: test.tfrecord")
    assert data.train.resident == resident
    for split, numbers in ((data.train, range(7)), (data.test, range(7, 9))):
        np.testing.assert_array_equal(whole(split.x["input"]), np.stack([pixels(i, 6, 5) for i in numbers]))
        assert whole(split.y["out"]).tolist() == [i % 3 for i in numbers]
    assert whole(data.train.weight[""]).tolist() == [0.5 + i for i in range(7)]
    picked = data.train.take(np.array([6, 0, 3]))
    np.testing.assert_array_equal(whole(picked.x["input"])[0], pixels(6, 6, 5))


def damaged(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_broken_record_is_named_with_file_and_number(load: Callable[..., Any], tmp_path: Path) -> None:
    names = ("length", "bytes", "cut", "none", "zipped", "good")
    for name in names:
        write(tmp_path / f"{name}.tfrecord", [{"label": i} for i in range(5)])
    size = (tmp_path / "good.tfrecord").stat().st_size // 5
    damaged(tmp_path / "length.tfrecord", 2 * size + 1)
    damaged(tmp_path / "bytes.tfrecord", 3 * size + 14)
    (tmp_path / "cut.tfrecord").write_bytes((tmp_path / "good.tfrecord").read_bytes()[:-3])
    (tmp_path / "none.tfrecord").write_bytes(b"no such thing as a record")
    (tmp_path / "zipped.tfrecord").write_bytes(b"\x1f\x8b" + bytes(30))
    with pytest.raises(SpecError) as caught:
        load("[" + ", ".join(f"{name}.tfrecord" for name in names) + "]")
    told = [problem.message.rpartition("/")[2] for problem in caught.value.problems]
    assert told == [
        "length.tfrecord, record 2: its length is damaged",
        "bytes.tfrecord, record 3: it is damaged (its checksum does not match)",
        "cut.tfrecord, record 4: the file ends inside it",
        "none.tfrecord, record 0: the file is no TFRecord file",
        "zipped.tfrecord is compressed, and cannot be read by record",
    ]
    assert all(problem.span is not None for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "a.tfrecord, record 3: it has no feature 'label'"),
        ({"label": 1.5}, "a.tfrecord, record 3: the feature 'label' holds float, not int64"),
        ({"label": [1, 2]}, "a.tfrecord, record 3: the feature 'label' holds 2 values"),
        ({"label": 7}, "a.tfrecord, record 3, label is 7, but 'out' has 3 units"),
        ({"w": -1.0}, "a.tfrecord, record 3, w is -1.0; weights are finite numbers from 0"),
        ({"image": b"nonsense"}, "a.tfrecord, record 3: image: it is no PNG, JPEG, GIF or BMP image"),
        ({"image": encode(pixels(0, 5, 5))}, "a.tfrecord, record 3: image: the image is 5×5, not 6×5"),
    ],
)
def test_a_record_at_fault_is_named(
    load: Callable[..., Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a.tfrecord", [example(i) if i != 3 else example(i, **changes) for i in range(5)])
    with pytest.raises(SpecError) as caught:
        load("a.tfrecord")
    (problem,) = caught.value.problems
    assert message in problem.message


def test_no_example(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(0), b"\xff\xff\xff"])
    with pytest.raises(SpecError, match=r"record 1: it is no tf.train.Example"):
        load("a.tfrecord")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("none.tfrecord", "there is no file"),
        ("none-*.tfrecord", "no file fits"),
        (".", "is a directory, not a TFRecord file"),
        ("empty.tfrecord", "there are no records"),
    ],
)
def test_files_that_are_not_there(load: Callable[..., Any], tmp_path: Path, files: str, message: str) -> None:
    (tmp_path / "empty.tfrecord").touch()
    with pytest.raises(SpecError, match=message):
        load(files)


def test_numbers_defaults_and_several_inputs(loaded: Callable[..., Any], tmp_path: Path) -> None:
    raw = [np.arange(4, dtype="<i2") * i for i in range(4)]
    every = [{"raw": raw[i].tobytes(), "a": [0.5, i], **({"b": i} if i else {}), "t": float(i)} for i in range(4)]
    write(tmp_path / "a.tfrecord", every)
    data = loaded(
        "inputs: {r: {shape: [2, 2]}, s: {shape: [2]}, u: {shape: [1]}}\n"
        "layers:\n  - {Flatten: , from: r, name: flat}\n"
        "  - {Concatenate: , from: [flat, s, u]}\n  - {Dense: 1, name: out}\n"
        "train:\n  data:\n    tfrecord: a.tfrecord\n    features:\n"
        "      raw: {dtype: string, decode: int16, shape: [2, 2]}\n      a: {dtype: float32, shape: [2]}\n"
        "      b: {dtype: int64, shape: [1], default_value: [9]}\n      t: float32\n"
        "    x: {r: raw, s: a, u: b}\n    y: t\n  loss: mse\n  validation: a.tfrecord\n"
    )
    np.testing.assert_array_equal(data.train.x["r"], np.stack(raw).reshape(4, 2, 2))
    assert data.train.x["s"].tolist() == [[0.5, i] for i in range(4)]
    assert data.train.x["u"].ravel().tolist() == [9, 1, 2, 3]
    assert data.validation.y["out"].ravel().tolist() == [0, 1, 2, 3]


def test_images_are_resized_when_asked(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(0), example(1, image=encode(pixels(1, 12, 10)))])
    data = load("a.tfrecord", text=SPEC.replace("decode: png", "decode: png, resize: true"))
    assert data.train.x["input"].shape == (2, 6, 5, 1)


def test_records_to_evaluate_on(compiled: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(i) for i in range(4)])
    write(tmp_path / "b.tfrecord", [example(i) for i in range(3)])
    spec, plan = compiled(SPEC.replace("FILES", "a.tfrecord"))
    split = load_single(
        data_at(tmp_path / "b.tfrecord", spec.train.data), plan, resolve_losses(spec.train, plan), Path(), []
    )
    assert split.rows == 3


def test_a_file_that_changes_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(i) for i in range(4)])
    records = index([tmp_path / "a.tfrecord"], None)
    with (tmp_path / "a.tfrecord").open("r+b") as file:
        file.write(bytes(1))
        file.flush()
        with pytest.raises(TrainingError, match=r"a.tfrecord was changed while it was in use"):
            records.read([2])
        file.truncate(100)
    with pytest.raises(TrainingError, match=r"a.tfrecord, record 2: the file was cut short"):
        records.read([2])
    (tmp_path / "a.tfrecord").unlink()
    with pytest.raises(TrainingError, match=r"a.tfrecord: No such file"):
        records.read([0])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("{}", "must be a mapping from features to their types"),
        ("{a: int32}", "`features.a` must be one of string, int64, float32"),
        ("{a: {shape: [1]}}", "`features.a` needs `dtype`"),
        ("{a: {dtype: int64, shpae: [1]}}", "a feature has no 'shpae'"),
        ("{a: {dtype: int64, decode: png}}", "decodes bytes, whose dtype is string"),
        ("{a: {dtype: string, decode: png}}", "is an image, whose shape is [height, width, channels]"),
        ("{a: {dtype: float32, resize: true}}", "is no image, and cannot be resized"),
        ("{a: {dtype: float32, shape: [-1]}}", "must be a list of sizes"),
    ],
)
def test_features_that_are_none(compiled: Callable[..., Any], features: str, message: str) -> None:
    text = (
        SPEC[: SPEC.index("train:")]
        + f"train:\n  data: {{tfrecord: a, features: {features}, x: a, y: a}}\n  loss: mse\n"
    )
    with pytest.raises(SpecError) as caught:
        compiled(text)
    assert message in caught.value.problems[0].message


def test_options_that_are_needed(compiled: Callable[..., Any]) -> None:
    text = SPEC[: SPEC.index("train:")] + "train:\n  data: {tfrecord: a}\n  loss: mse\n"
    with pytest.raises(SpecError, match="data of the kind `tfrecord` need `features`, `x`, `y`"):
        compiled(text)


def test_an_unknown_feature(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(0)])
    with pytest.raises(SpecError) as caught:
        load("a.tfrecord", text=SPEC.replace("x: image", "x: imag"))
    assert "there is no feature 'imag'" in caught.value.problems[0].message
    assert caught.value.problems[0].hint == "did you mean 'image'?"


def test_text_is_no_weight_and_no_number(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [example(i, name=b"x", t=b"y") for i in range(2)])
    text = SPEC.replace("w: float32", "name: string, t: string").replace("sample_weight: w", "sample_weight: name")
    with pytest.raises(SpecError) as caught:
        load("a.tfrecord", text=text.replace("y: label", "y: t").replace("x: image", "x: name"))
    told = [problem.message for problem in caught.value.problems]
    assert "name holds text; a weight is a number" in told[0]
    assert "rows of the shape []" in told[1]
    assert "t holds text, but SparseCategoricalCrossentropy" in told[2]
