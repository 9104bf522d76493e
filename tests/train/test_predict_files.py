"""`predict` on images and on records, for runs that were trained on such."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, KbuildError, SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import load_spec
from kbuild.train.predict import predict
from tests.train import test_image_folder as pictures
from tests.train import test_tfrecord as records


def trained(folder: Path, text: str) -> Path:
    from kbuild.train.run import train

    (folder / "spec.yaml").write_text(text)
    spec = load_spec(folder / "spec.yaml")
    return train(spec, plan_spec(spec), run_dir=folder / "run", quiet=True).run_dir


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pictures.write(folder / "all")
    return trained(folder, pictures.SPEC.replace("DATA", "{image_folder: all, color: grayscale}"))


@pytest.fixture(scope="module")
def of_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    records.write(folder / "a.tfrecord", [records.example(i) for i in range(8)])
    return trained(folder, records.SPEC.replace("FILES", "a.tfrecord"))


def lines(run: Path, path: Path, **options: Any) -> list[dict[str, Any]]:
    stdout = io.StringIO()
    done = predict(run, path, stdout=stdout, **options)
    found = [json.loads(line) for line in stdout.getvalue().splitlines()]
    assert [row["row"] for row in found] == list(range(done["rows"]))
    return found


def assert_predicts(found: list[dict[str, Any]], run: Path, pixels: np.ndarray, folder: Path) -> None:
    """As it does for the same pixels in an array."""
    np.save(folder / "pixels.npy", pixels)
    expected = lines(run, folder / "pixels.npy")
    np.testing.assert_allclose([row["out"] for row in found], [row["out"] for row in expected], rtol=1e-5, atol=1e-5)
    assert [row["class"] for row in found] == [row["class"] for row in expected]


@pytest.mark.parametrize("best", [False, True])
def test_a_folder_of_images(of_pictures: Path, tmp_path: Path, best: bool) -> None:
    every = pictures.write(tmp_path / "new" / "deep", {"b": 2, "a": 1})
    (tmp_path / "new" / "0.PNG").write_bytes(pictures.encode(pictures.pixels(9)))
    (tmp_path / "new" / "notes.txt").write_text("no image")
    found = lines(of_pictures, tmp_path / "new", best=best)
    assert [row["place"] for row in found] == ["0.PNG", "deep/a/0.png", "deep/b/0.png", "deep/b/1.png"]
    assert_predicts(found, of_pictures, np.stack([pictures.pixels(9), every[2], every[0], every[1]]), tmp_path)
    assert {row["class_name"] for row in found} <= {"ant", "bee", "cat"}


def test_one_image(of_pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(pictures.encode(pictures.pixels(5)))
    (row,) = lines(of_pictures, tmp_path / "one.png")
    assert row["place"] == "one.png"
    assert_predicts([row], of_pictures, pictures.pixels(5)[None], tmp_path)


def test_tables_of_predictions_have_the_places(of_pictures: Path, tmp_path: Path) -> None:
    pictures.write(tmp_path / "new", {"a": 2})
    predict(of_pictures, tmp_path / "new", tmp_path / "p.csv")
    header, first, second = (line.split(",") for line in (tmp_path / "p.csv").read_text().splitlines())
    assert header == ["row", "place", "out_0", "out_1", "out_2", "out_class", "out_class_name"]
    assert (first[:2], second[:2]) == (["0", "a/0.png"], ["1", "a/1.png"])
    predict(of_pictures, tmp_path / "new", tmp_path / "p.npy")
    assert np.load(tmp_path / "p.npy").shape == (2, 3)


def test_every_image_at_fault_is_named(of_pictures: Path, tmp_path: Path) -> None:
    pictures.write(tmp_path / "new", {"a": 3})
    (tmp_path / "new" / "a" / "0.png").write_text("no image")
    (tmp_path / "new" / "a" / "2.png").write_bytes(pictures.encode(pictures.pixels(1, 9, 7)))
    with pytest.raises(SpecError) as caught:
        predict(of_pictures, tmp_path / "new", tmp_path / "p.csv")
    assert [problem.message for problem in caught.value.problems] == [
        f"{tmp_path / 'new' / 'a' / '0.png'}: it is no PNG, JPEG, GIF or BMP image",
        f"{tmp_path / 'new' / 'a' / '2.png'}: the image is 7×9, not 8×8",
    ]
    assert not (tmp_path / "p.csv").exists()
    for i in range(30):
        (tmp_path / "new" / f"{i}.png").touch()
    with pytest.raises(SpecError) as caught:
        predict(of_pictures, tmp_path / "new", tmp_path / "p.csv")
    assert len(caught.value.problems) == 21
    assert "so it is with 12 more of 33 images" in caught.value.problems[-1].message


def test_the_size_of_the_run_resizes(of_pictures: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(of_pictures, tmp_path / "run"))
    text = (run / "resolved.yaml").read_text()
    assert "color: grayscale" in text
    (run / "resolved.yaml").write_text(text.replace("color: grayscale", "color: grayscale, size: [8, 8]"))
    (tmp_path / "one.png").write_bytes(pictures.encode(np.full((16, 12, 1), 77, "uint8")))
    assert_predicts(lines(run, tmp_path / "one.png"), run, np.full((1, 8, 8, 1), 77, "uint8"), tmp_path)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda path: None, "none.png", "there is no file"),
        (lambda path: path.mkdir(), "empty", "holds no images"),
        (lambda path: path.write_text("x"), "a.txt", "inputs are .npz, .npy, .csv"),
    ],
)
def test_what_is_no_image(of_pictures: Path, tmp_path: Path, make: Any, name: str, message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(KbuildError) as caught:
        predict(of_pictures, tmp_path / name, tmp_path / "p.csv")
    assert caught.value.exit_code == 2
    assert message in str(caught.value)


def test_runs_on_other_data_take_no_images(small_run: Any, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(pictures.encode(pictures.pixels(5)))
    for path in (tmp_path / "one.png", tmp_path):
        with pytest.raises(InputError, match=r"by runs on an `image_folder`.* the data of this run are `digits`"):
            predict(small_run.run_dir, path)


def test_records(of_records: Path, tmp_path: Path) -> None:
    """Targets and weights need not be there, and are not looked at."""
    shards = {"a-1.tfrecord": range(2), "a-2.tfrecord": range(2, 5)}
    for name, numbers in shards.items():
        records.write(tmp_path / name, [{"image": records.example(i)["image"], "label": [7, 7]} for i in numbers])
    found = lines(of_records, tmp_path / "a-*.tfrecord")
    assert [row["place"] for row in found] == [
        f"{name}, record {at}" for name, numbers in shards.items() for at in range(len(numbers))
    ]
    pixels = np.stack([pictures.pixels(i, 6, 5) for i in range(5)])
    assert_predicts(found, of_records, pixels, tmp_path)
    (tmp_path / "a-2.tfrecord").rename(tmp_path / "a-2-of-2")
    assert_predicts(lines(of_records, tmp_path / "a-2-of-2"), of_records, pixels[2:], tmp_path)


def test_records_at_fault_are_named(of_records: Path, tmp_path: Path) -> None:
    image = records.example(0)["image"]
    records.write(tmp_path / "b.tfrecord", [{"image": image}, {"label": 1}])
    for path, message in (
        (tmp_path / "b.tfrecord", "b.tfrecord, record 1: it has no feature 'image'"),
        (tmp_path / "none.tfrecord", f"there is no file {tmp_path / 'none.tfrecord'}"),
        (tmp_path / "none-*", f"no file fits {tmp_path / 'none-*'}"),
        (tmp_path, f"{tmp_path} is a directory, not a TFRecord file"),
    ):
        with pytest.raises(SpecError) as caught:
            predict(of_records, path, tmp_path / "p.csv")
        (problem,) = caught.value.problems
        assert (problem.message, problem.hint) == (message, "")
    records.write(tmp_path / "empty.tfrecord", [])
    with pytest.raises(InputError, match="holds no rows"):
        predict(of_records, tmp_path / "empty.tfrecord")
