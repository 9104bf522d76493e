"""Names of classes travel with every artifact, and the clean processes read them there."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, ParityError
from kbuild.export.exporting import check, export
from kbuild.export.formats import FORMATS, Request
from kbuild.export.parity import make_sample, predict_here
from kbuild.export.source import Subject
from kbuild.model.backend import import_keras
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import load_spec
from kbuild.train.predict import predict
from kbuild.train.run import train
from tests.extras import needs

SPEC = """\
name: named
input: {shape: [4]}
layers:
  - {Dense: 8, name: hidden}
  - {Dense: {units: 3, activation: softmax}, name: pet}
  - {Dense: {units: 1, activation: sigmoid}, name: old, from: hidden}
  - {Dense: 1, name: tame, from: hidden}
  - {Dense: 1, name: weight, from: hidden}
outputs: [pet, old, tame, weight]
ordering: W-N
train:
  data:
    npz: data.npz
    y: {pet: y_pet, old: y_old, tame: y_old, weight: y_weight}
    classes: {pet: [cat, dog, Käfer], old: [young, old], tame: [wild, tame]}
  loss: {pet: sparse_categorical_crossentropy, old: binary_crossentropy, tame: binary_crossentropy, weight: mse}
  epochs: 1
"""

CLASSES = {"pet_softmax": ["cat", "dog", "Käfer"], "old_sigmoid": ["young", "old"], "tame": ["wild", "tame"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 4)).astype("float32")
    np.savez(
        folder / "data.npz", x_train=x, y_pet=np.arange(64) % 3, y_old=(x[:, :1] > 0).astype(int), y_weight=x[:, 1:2]
    )
    np.save(folder / "x.npy", x)
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    spec = load_spec(folder / "spec.yaml")
    result: Any = train(spec, plan_spec(spec), run_dir=folder / "run", quiet=True)
    return Path(result.run_dir)


def test_the_run_and_its_saved_model(run: Path) -> None:
    import_keras()
    import tensorflow as tf

    assert json.loads((run / "classes.json").read_text(encoding="utf-8")) == CLASSES
    assert json.loads((run / "export" / "parity.json").read_text(encoding="utf-8"))["classes"] == CLASSES
    folder = run / "export" / "saved_model"
    assert json.loads((folder / "assets.extra" / "classes.json").read_text(encoding="utf-8")) == CLASSES
    signatures = tf.saved_model.load(str(folder)).signatures
    x = tf.constant(np.load(run.parent / "x.npy"))
    numbers, named = signatures["serving_default"](x), signatures["class_names"](x)
    assert set(numbers) == {"pet_softmax", "old_sigmoid", "tame", "weight"}
    assert set(named) == {*numbers, "pet_softmax_class_name", "old_sigmoid_class_name", "tame_class_name"}
    said = {name: [text.decode() for text in named[f"{name}_class_name"].numpy()] for name in CLASSES}
    assert said["pet_softmax"] == [CLASSES["pet_softmax"][i] for i in numbers["pet_softmax"].numpy().argmax(-1)]
    assert said["old_sigmoid"] == ["old" if p > 0.5 else "young" for p in numbers["old_sigmoid"].numpy()]
    assert said["tame"] == ["tame" if logit > 0 else "wild" for logit in numbers["tame"].numpy()]
    assert all(len(set(names)) > 1 for names in said.values())


@pytest.mark.parametrize("best", [False, True])
def test_predict_shows_them(run: Path, tmp_path: Path, best: bool) -> None:
    stdout = io.StringIO()
    predict(run, run.parent / "x.npy", best=best, stdout=stdout)
    rows = [json.loads(line) for line in stdout.getvalue().splitlines()]
    for row in rows:
        assert row["pet_softmax_class_name"] == CLASSES["pet_softmax"][int(np.argmax(row["pet_softmax"]))]
        assert row["old_sigmoid_class"] == int(row["old_sigmoid"][0] > 0.5)
        assert row["old_sigmoid_class_name"] == CLASSES["old_sigmoid"][row["old_sigmoid_class"]]
        assert row["tame_class_name"] == CLASSES["tame"][int(row["tame"][0] > 0)]
        assert "weight_class" not in row
    predict(run, run.parent / "x.npy", tmp_path / "p.csv", best=best)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    for name in CLASSES:
        assert [line[f"{name}_class_name"] for line in table] == [row[f"{name}_class_name"] for row in rows]
        assert [int(line[f"{name}_class"]) for line in table] == [row[f"{name}_class"] for row in rows]


def test_names_that_do_not_fit_the_run(run: Path, a_copy: Callable[[Path], Path]) -> None:
    copy = a_copy(run)
    (copy / "classes.json").write_text('{"pet_softmax": ["cat", "dog"]}')
    with pytest.raises(InputError, match=r"classes\.json names 2 classes of pet_softmax, not 3"):
        predict(copy, run.parent / "x.npy", stdout=io.StringIO())


@pytest.fixture
def a_copy(tmp_path: Path) -> Callable[[Path], Path]:
    import shutil

    return lambda run: Path(shutil.copytree(run.parent, tmp_path / "copy")) / "run"


def test_a_keras_file_carries_them(run: Path, a_copy: Callable[[Path], Path], tmp_path: Path) -> None:
    """From a run, from its best model, from a file that left."""
    copy = a_copy(run)
    (tmp_path / "left").mkdir()
    sources = [copy / "checkpoints" / "best.keras", tmp_path / "left" / "model.keras"]
    for folder, source in zip(("a", "b"), sources, strict=True):
        result = export(source, "keras", output=tmp_path / folder, data=run.parent / "x.npy")
        path = tmp_path / folder / "model.keras"
        assert result.artifacts["model.keras"]["classes"] == CLASSES
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("classes.json")) == CLASSES
        if folder == "a":
            path.rename(sources[1])


@pytest.mark.slow
def test_every_format_carries_them(run: Path, a_copy: Callable[[Path], Path]) -> None:
    needs("onnx")
    needs("litert")
    import onnx

    copy = a_copy(run)
    artifacts = export(copy, "savedmodel,keras,onnx,litert", fold=True).artifacts
    assert len(artifacts) == 8
    assert all(figures["classes"] == CLASSES for figures in artifacts.values())
    metadata = {one.key: one.value for one in onnx.load(copy / "export" / "model.onnx").metadata_props}
    assert json.loads(metadata["classes"]) == CLASSES
    with zipfile.ZipFile(copy / "export" / "model_folded.tflite") as archive:
        assert json.loads(archive.read("classes.json")) == CLASSES
    smaller = export(copy, "litert", quantize="int8").artifacts
    assert smaller["model_int8.tflite"]["classes"] == CLASSES


def subject() -> Subject:
    keras: Any = import_keras()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), name="given")
    model = keras.Model(inputs, keras.layers.Dense(3, name="pet")(inputs))
    rows = {"given": np.random.default_rng(0).normal(size=(20, 6)).astype("float32")}
    return Subject(model, None, "float32", rows, rows, "", Path(), {"pet": ("cat", "dog", "eel")})


@pytest.mark.parametrize("name", ["savedmodel", "keras"])
def test_other_names_are_found(name: str, tmp_path: Path) -> None:
    one, path = subject(), tmp_path / FORMATS[name].file_name(False)
    sample = make_sample(one.model, one.inputs)
    expected = predict_here(one.model, sample)
    FORMATS[name].write(Request(one.model, path, classes={"pet": ("dog", "cat", "eel")}))
    found = check(FORMATS[name], path, one, sample, expected)["problems"]
    assert found[0] == ('it names the classes {"pet": ["dog", "cat", "eel"]}, the model {"pet": ["cat", "dog", "eel"]}')
    signature = "its signature class_names gives other names for pet than those of the top classes"
    assert found[1:] == ([signature] if name == "savedmodel" else [])
    FORMATS[name].write(Request(one.model, path))
    found = check(FORMATS[name], path, one, sample, expected)["problems"]
    assert found[0].startswith("it names the classes {}, the model")


def test_a_model_without_names(tmp_path: Path) -> None:
    path = tmp_path / "saved_model"
    one = subject()
    FORMATS["savedmodel"].write(Request(one.model, path))
    assert not (path / "assets.extra").exists()
    import tensorflow as tf

    assert list(tf.saved_model.load(str(path)).signatures) == ["serving_default"]


def test_damaged_names_in_a_file(tmp_path: Path) -> None:
    one, path = subject(), tmp_path / "model.keras"
    FORMATS["keras"].write(Request(one.model, path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("classes.json", '{"pet": 3}')
    with pytest.raises(InputError, match=r"model\.keras does not hold names of classes"):
        export(path, "keras")


def test_a_training_whose_export_lost_its_names_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kbuild.export import saved_model

    write = saved_model.export_saved_model
    monkeypatch.setattr(saved_model, "export_saved_model", lambda model, path, classes: write(model, path))
    spec = load_spec(run.parent / "spec.yaml")
    with pytest.raises(ParityError, match=r"it names the classes \{\}, the model"):
        train(spec, plan_spec(spec), run_dir=tmp_path / "run", quiet=True)
