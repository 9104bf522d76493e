"""Folders of images: read, checked, streamed, trained and exported."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError, TrainingError
from kbuild.model.backend import import_keras
from kbuild.plan.losses import resolve_losses
from kbuild.train.data import images, memory
from kbuild.train.data.image_folder import ImageRows
from kbuild.train.data.load import load_single
from kbuild.train.data.seen import look
from kbuild.train.data.sources import data_at
from tests.train.rows import whole

SPEC = """\
name: pictures
input: {shape: [8, 8, 1], dtype: uint8}
layers:
  - Rescaling: 0.0625
  - Flatten
  - {Dense: 3, name: out}
train:
  data: DATA
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  epochs: 1
  validation: 0.25
"""


def encode(pixels: np.ndarray, form: str = "png") -> bytes:
    import_keras()
    import tensorflow as tf

    if form == "bmp":  # 24 bits a pixel, blue first, rows from below, each on a multiple of four bytes
        rows = pixels[::-1, :, ::-1]
        lines = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows)
        header = struct.pack("<IiiHHIIiiII", 40, pixels.shape[1], pixels.shape[0], 1, 24, 0, len(lines), 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54 + len(lines), 0, 0, 54) + header + lines
    function = {"png": tf.io.encode_png, "jpg": tf.io.encode_jpeg}[form]
    return bytes(function(pixels).numpy())


def pixels(number: int, height: int = 8, width: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, channels)).astype("uint8")


def write(folder: Path, classes: dict[str, int] | None = None, **shape: int) -> list[np.ndarray]:
    """Images `0.png`, `1.png`, ... of classes; the pixels in the order in which they are read."""
    every = []
    for number, (name, count) in enumerate((classes or {"ant": 4, "bee": 6, "cat": 2}).items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            every.append(pixels(100 * number + i, **shape))
            (folder / name / f"{i}.png").write_bytes(encode(every[-1]))
    return every


@pytest.fixture
def load(loaded: Callable[..., Any]) -> Callable[..., Any]:
    def read(data: str, *overrides: str) -> Any:
        return loaded(SPEC.replace("DATA", data), *overrides)

    return read


def test_classes_are_folders_in_order(load: Callable[..., Any], tmp_path: Path) -> None:
    every = write(tmp_path / "all")
    data = load("{image_folder: all, color: grayscale}", "train.validation=0")
    assert data.train.resident
    np.testing.assert_array_equal(data.train.x["input"], np.stack(every))
    assert data.train.y["out"].tolist() == [0] * 4 + [1] * 6 + [2] * 2
    assert data.classes == {"out": ("ant", "bee", "cat")}
    assert data.test is None


def test_train_and_test_folders(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "all" / "train")
    test = write(tmp_path / "all" / "test", {"bee": 2, "cat": 1})
    write(tmp_path / "all" / "val", {"cat": 3})
    data = load("{image_folder: all, color: grayscale}", "train.validation={image_folder: all/val, color: grayscale}")
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 12, "validation": 3, "test": 3}
    assert data.test.y["out"].tolist() == [1, 1, 2]
    assert data.validation.y["out"].tolist() == [2, 2, 2]
    np.testing.assert_array_equal(data.test.x["input"], np.stack(test))
    assert any("val is not read; `validation: {image_folder: all/val}` reads it" in note for note in data.notes)


def test_decoded_on_the_fly(load: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = write(tmp_path / "all")
    (tmp_path / "all" / "bee" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    resident = load("{image_folder: all, color: grayscale}")
    monkeypatch.setattr(memory, "memory", lambda: 0)
    data = load("{image_folder: all, color: grayscale}")
    assert not data.train.resident
    for name, split in resident.splits.items():
        np.testing.assert_array_equal(whole(data.splits[name].x["input"]), split.x["input"])
        np.testing.assert_array_equal(data.splits[name].y["out"], split.y["out"])
    rows = whole(load("{image_folder: all, color: grayscale}", "train.validation=0").train.x["input"])
    np.testing.assert_array_equal(rows, np.stack(every[:6] + every[7:]))


def test_broken_images_are_listed_and_left_out(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "all")
    png = encode(pixels(0, 40, 40))
    (tmp_path / "all" / "bee" / "1.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "all" / "bee" / "2.png").write_bytes(b"")
    (tmp_path / "all" / "cat" / "0.png").write_text("not an image")
    data = load("{image_folder: all, color: grayscale}", "train.validation=0")
    assert data.train.y["out"].tolist() == [0] * 4 + [1] * 4 + [2]
    (note,) = [note for note in data.notes if "left out" in note]
    assert note.startswith("3 of 12 images in ")
    for told in (
        "bee/1.png: it is cut off or damaged",
        "bee/2.png: it is empty",
        "cat/0.png: it is no PNG, JPEG, GIF or BMP image",
    ):
        assert told in note


def test_images_that_differ_are_resized_when_asked(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "all")
    (tmp_path / "all" / "cat" / "9.png").write_bytes(encode(pixels(1, 20, 10)))
    with pytest.raises(SpecError) as caught:
        load("{image_folder: all, color: grayscale}")
    (problem,) = caught.value.problems
    assert "1 of 13 images are not 8×8 as the first, for example cat/9.png, 10×20" in problem.message
    assert problem.hint == "write `size: [8, 8]`, [height, width], to resize all"
    data = load("{image_folder: all, color: grayscale, size: [8, 8]}", "train.validation=0")
    assert data.train.x["input"].shape == (13, 8, 8, 1)
    import tensorflow as tf

    expected = np.round(tf.image.resize(pixels(1, 20, 10), (8, 8)).numpy()).astype("uint8")
    np.testing.assert_array_equal(data.train.x["input"][12], expected)


@pytest.mark.parametrize("form", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_formats_and_colors(form: str, color: str) -> None:
    flat = np.full((4, 6, 3), (200, 30, 90), "uint8")
    image = images.decode(encode(flat, form), color)
    assert image.shape == (4, 6, 3 if color == "rgb" else 1)
    expected = (200, 30, 90) if color == "rgb" else (0.299 * 200 + 0.587 * 30 + 0.114 * 90,)
    np.testing.assert_allclose(image.reshape(-1, image.shape[-1])[0], expected, atol=3)


#: 8×8 pixels of CMYK in a JPEG file, as printers' tools write them: cyan 0, magenta and yellow 200, black 20 of 255.
CMYK = (
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAGBAUGBQQGBgUGBwcGCAoQCgoJCQoUDg8MEBcUGBgXFBYWGh0lHxobIxwWFiAsICMmJykq"
    "KRkfLTAtKDAlKCko/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAcI/8QAFBABAAAAAAAAAAAAAAAA"
    "AAAAAP/aAA4EQwBNAFkASwAAPwCqQ8HlHv/Z"
)


def test_inks_become_colors_and_gray() -> None:
    content = base64.b64decode(CMYK)
    lit = 255 - 20
    inks = [lit * (255 - ink) / 255 for ink in (0, 200, 200)]
    np.testing.assert_allclose(images.decode(content, "rgb").reshape(-1, 3), [inks] * 64, atol=3)
    gray = images.decode(content, "grayscale")
    assert gray.shape == (8, 8, 1)
    np.testing.assert_allclose(gray, 0.299 * inks[0] + 0.587 * inks[1] + 0.114 * inks[2], atol=3)


def test_colors_of_a_gray_bitmap() -> None:
    gray = np.full((4, 6, 3), 77, "uint8")
    assert (images.decode(encode(gray, "bmp"), "grayscale") == 77).all()


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_a_header_that_promises_too_much_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images.LIMITS, "image-pixels", 23)
    with pytest.raises(images.Broken, match=r"6×4 pixels, more than the limit image-pixels \(23\)"):
        images.decode(encode(np.zeros((4, 6, 3), "uint8"), form), "rgb")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff" + bytes(50), b"GIF89a", b"BM" + bytes(99)]
)
def test_no_image(content: bytes) -> None:
    with pytest.raises(images.Broken):
        images.decode(content, "rgb")


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ("{image_folder: none}", "is not there", "relative to the spec's file"),
        ("{image_folder: spec.yaml}", "is a file, not a folder", ""),
        ("{image_folder: empty}", "has no folders; images stand in one folder for each class", ""),
        ("{image_folder: hollow}", "holds no images", "images are called *.png"),
        ("{image_folder: broken}", "none of its 2 images can be read (a/0.png: it is no PNG", ""),
        (
            "{image_folder: all}",
            "rows of the shape [8, 8, 3], but the input 'input' takes [8, 8, 1]",
            "color: grayscale",
        ),
        ("{image_folder: all, size: [9, 9], color: grayscale}", "rows of the shape [9, 9, 1]", "write `input: {shape"),
        ("{image_folder: all, classes: [ant, bee]}", "cat is the folder of no class", "classes: ant, bee"),
        (
            "{image_folder: four, color: grayscale}",
            "four: d/0.png, class is 3, but 'out' has 3 units",
            "there are 4 classes: a, b, c, d",
        ),
        ("{image_folder: more, color: grayscale}", "test/dog is the folder of no class", "classes: ant, bee, cat"),
    ],
)
def test_what_does_not_fit(load: Callable[..., Any], tmp_path: Path, data: str, message: str, hint: str) -> None:
    write(tmp_path / "all")
    write(tmp_path / "four", {"a": 1, "b": 1, "c": 1, "d": 1})
    write(tmp_path / "more" / "train")
    write(tmp_path / "more" / "test", {"ant": 1, "dog": 1})
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a").mkdir(parents=True)
    for name in ("0.png", "1.png"):
        (tmp_path / "broken" / "a" / name).write_text("nothing")
    with pytest.raises(SpecError) as caught:
        load(data)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in problem.hint


def test_written_classes_number_the_folders(load: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "all")
    data = load("{image_folder: all, color: grayscale, classes: [cat, ant, bee]}", "train.validation=0")
    assert data.train.y["out"].tolist() == [0] * 2 + [1] * 4 + [2] * 6
    assert data.classes == {"out": ("cat", "ant", "bee")}


def test_a_folder_to_evaluate_on_has_the_numbers_of_the_training(compiled: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "all")
    write(tmp_path / "held", {"cat": 2})
    spec, plan = compiled(SPEC.replace("DATA", "{image_folder: all, color: grayscale}"))
    settings = data_at(tmp_path / "held", spec.train.data)
    targets = resolve_losses(spec.train, plan)
    split = load_single(settings, plan, targets, Path(), [], {"out": ("ant", "bee", "cat")})
    assert split.y["out"].tolist() == [2, 2]


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    rows = ImageRows(look(["ant/0.png", "bee/1.png"], tmp_path), (2, 8, 8, 1), "grayscale")
    assert rows[:1].shape == (1, 8, 8, 1)
    (tmp_path / "bee" / "1.png").unlink()
    with pytest.raises(TrainingError, match=r"cannot read the image .*bee/1.png: No such file"):
        rows[np.array([1])]
    (tmp_path / "bee" / "1.png").write_text("other")
    with pytest.raises(TrainingError, match=r"bee/1.png: it is no PNG.*; it was whole before training"):
        rows[np.array([1])]
    (tmp_path / "ant" / "0.png").write_bytes(encode(pixels(7)))
    with pytest.raises(TrainingError, match=r"ant/0.png was changed while it was in use"):
        rows[np.array([0])]


def test_digits_as_pictures_from_spec_to_saved_model(compiled: Callable[..., Any], tmp_path: Path) -> None:
    """The exported model takes the pixels of an image file as they are, and `evaluate` takes a folder."""
    import tensorflow as tf

    from kbuild.resources import specs_dir
    from kbuild.train.evaluate import evaluate
    from kbuild.train.run import train

    archive = np.load(next(specs_dir().parent.glob("kbuild/data/digits.npz")))
    for part, x, y in (("train", "x_train", "y_train"), ("test", "x_test", "y_test")):
        for i, (image, label) in enumerate(zip(archive[x][:300], archive[y][:300], strict=True)):
            (tmp_path / "digits" / part / str(label)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "digits" / part / str(label) / f"{i:03}.png").write_bytes(encode(image[..., None] * 15))
    text = SPEC.replace("DATA", "{image_folder: digits, color: grayscale}").replace("Dense: 3", "Dense: 10")
    spec, plan = compiled(text.replace("epochs: 1", "epochs: 20"), "train.optimizer={Adam: 0.01}")
    run = train(spec, plan, run_dir=tmp_path / "run", quiet=True)
    assert run.metrics["test"]["accuracy"] > 0.8
    again = evaluate(tmp_path / "run", tmp_path / "digits" / "test", quiet=True)
    assert again["metrics"]["data"] == pytest.approx(run.metrics["test"], rel=1e-5)
    serve = tf.saved_model.load(str(run.saved_model)).signatures["serving_default"]
    (name, wanted), *_ = serve.structured_input_signature[1].items()
    assert wanted.dtype == tf.uint8
    content = next((tmp_path / "digits" / "test" / "7").iterdir()).read_bytes()
    found = serve(**{name: images.decode(content, "grayscale")[None]})
    assert next(iter(found.values())).shape == (1, 10)


MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"

CNN = """\
name: mnist_png
input: {shape: [28, 28, 1], dtype: uint8}
ordering: {order: W-N-A-D, dropout: 0.1}
layers:
  - Rescaling: 0.00392156862745098
  - Conv2D: {filters: 8, kernel_size: 3, strides: 2, activation: relu}
  - Conv2D: {filters: 16, kernel_size: 3, strides: 2, activation: relu}
  - Flatten
  - Dense: 10
train:
  data: {image_folder: mnist, color: grayscale}
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  optimizer: {Adam: 0.005}
  epochs: 6
  batch_size: 32
"""


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_file(), reason="the data are not beside this checkout")
@pytest.mark.parametrize("resident", [True, False])
def test_mnist_as_pictures(
    compiled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: bool
) -> None:
    import tensorflow as tf

    from kbuild.train.run import train

    archive = np.load(MNIST)
    for part, count in (("train", 4000), ("test", 500)):
        for i, (image, label) in enumerate(zip(archive[f"x_{part}"][:count], archive[f"y_{part}"], strict=False)):
            (tmp_path / "mnist" / part / str(label)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "mnist" / part / str(label) / f"{i:05}.png").write_bytes(encode(image[..., None]))
    if not resident:
        monkeypatch.setattr(memory, "memory", lambda: 0)
    spec, plan = compiled(CNN)
    run = train(spec, plan, run_dir=tmp_path / "run", quiet=True)
    assert run.metrics["test"]["accuracy"] > 0.9
    serve = tf.saved_model.load(str(run.saved_model)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    pictures = [tmp_path / "mnist" / "test" / str(k) for k in range(10)]
    raw = np.stack([images.decode(next(folder.iterdir()).read_bytes(), "grayscale") for folder in pictures])
    (found,) = serve(**{name: raw}).values()
    assert np.mean(found.numpy().argmax(-1) == np.arange(10)) >= 0.8
