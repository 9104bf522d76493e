"""Every format is written, loaded by its own runtime in a clean process, and compared; damage is found."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, ParityError
from kbuild.export import formats
from kbuild.export.exporting import check, export, read_formats
from kbuild.export.formats import FORMATS, Request
from kbuild.export.parity import make_sample, predict_here
from kbuild.export.source import Subject, open_source
from kbuild.model.backend import import_keras
from tests.extras import needs

FOLDED = {"into": {"dense1_bn": "digit"}, "dropped": ["conv1_drop", "dense1_drop"]}


def test_folded_beside_the_others(a_run: Path) -> None:
    before = (a_run / "export" / "parity.json").read_text()
    result = export(a_run, "keras", fold=True)
    assert list(result.artifacts) == ["model.keras", "model_folded.keras"]
    assert result.folded is not None
    assert {key: result.folded[key] for key in FOLDED} == FOLDED
    assert list(result.folded["kept"]) == ["conv1_bn"]
    report = json.loads((a_run / "export" / "parity.json").read_text())
    assert report["ok"]
    assert report["compared_on"] == "the test data of the run"
    assert report["batch_sizes"] == [1, 7, 256]
    assert report["outputs"] == json.loads(before)["outputs"]  # the training's own proof stays
    for name, figures in report["artifacts"].items():
        output = figures["outputs"]["digit"]
        assert output["max_abs"] <= output["tolerance"] < 1e-3
        assert output["same_top"] == 1
        assert figures["runtime"].startswith("keras ")
        assert figures["bytes"] == (a_run / "export" / name).stat().st_size
    assert report["artifacts"]["model.keras"]["outputs"]["digit"]["max_abs"] == 0
    assert not [path for path in (a_run / "export").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_all_formats(a_run: Path) -> None:
    needs("onnx")
    needs("litert")
    result = export(a_run, "savedmodel,keras,onnx,litert", fold=True)
    assert sorted(result.artifacts) == sorted(
        one.file_name(folded) for one in FORMATS.values() for folded in (False, True)
    )
    for figures in result.artifacts.values():
        assert figures["signature"]["inputs"] == {"input": [[None, 8, 8, 1], "float32"]}
        assert figures["signature"]["outputs"] == {"digit": [[None, 10], "float32"]}
    for how in formats.QUANTIZATIONS:
        smaller = export(a_run, "litert", fold=True, quantize=how).artifacts
        assert list(smaller) == [f"model_{how}.tflite", f"model_folded_{how}.tflite"]
        # Small tensors are left as they are by `dynamic`.
        assert smaller[f"model_{how}.tflite"]["bytes"] <= result.artifacts["model.tflite"]["bytes"]
        assert all(figures["outputs"]["digit"]["same_top"] > 0.95 for figures in smaller.values())


def two_outputs() -> Subject:
    keras: Any = import_keras()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), name="given")
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(5)(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(3, name=name)(hidden) for name in ("b", "a")])
    rows = {"given": np.random.default_rng(0).normal(size=(20, 6)).astype("float32")}
    return Subject(model, None, "float32", rows, rows, "", Path())


def problems_of(subject: Subject, name: str, path: Path) -> list[str]:
    sample = make_sample(subject.model, subject.inputs)
    expected = predict_here(subject.model, sample)
    return list(check(FORMATS[name], path, subject, sample, expected)["problems"])


def test_a_flipped_weight_in_a_keras_file(tmp_path: Path) -> None:
    import h5py

    subject = two_outputs()
    path = tmp_path / "model.keras"
    FORMATS["keras"].write(Request(subject.model, path))
    assert problems_of(subject, "keras", path) == []
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "inside")
    with h5py.File(tmp_path / "inside" / "model.weights.h5", "r+") as file:
        file["layers/dense/vars/0"][2, 3] *= -1
    shutil.make_archive(str(tmp_path / "damaged"), "zip", tmp_path / "inside")
    (tmp_path / "damaged.zip").rename(tmp_path / "damaged.keras")
    found = problems_of(subject, "keras", tmp_path / "damaged.keras")
    assert [text.split(",")[0].split(" differ by")[0] for text in found] == [
        "b: at batch size 1 predictions",
        "a: at batch size 1 predictions",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "swap", "rename"])
def test_a_damaged_onnx_file(tmp_path: Path, damage: str) -> None:
    needs("onnx")
    import onnx

    subject = two_outputs()
    path = tmp_path / "model.onnx"
    FORMATS["onnx"].write(Request(subject.model, path))
    assert problems_of(subject, "onnx", path) == []
    proto = onnx.load(path)
    if damage == "flip":
        weight = next(one for one in proto.graph.initializer if len(one.dims) == 2)
        values = onnx.numpy_helper.to_array(weight).copy()
        values[1, 1] *= -1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    else:
        new = {"a": "b", "b": "a"} if damage == "swap" else {"a": "c"}
        for node in proto.graph.node:
            node.output[:] = [new.get(name, name) for name in node.output]
        for value in proto.graph.output:
            value.name = new.get(value.name, value.name)
    onnx.save(proto, path)
    found = problems_of(subject, "onnx", path)
    assert found
    if damage == "rename":
        assert found[0] in [f"its signature has the outputs {two}, the model has b, a" for two in ("b, c", "c, b")]
    else:
        assert "predictions differ by" in found[0]


@pytest.mark.slow
def test_a_damaged_litert_file(tmp_path: Path) -> None:
    needs("litert")
    subject = two_outputs()
    path = tmp_path / "model.tflite"
    FORMATS["litert"].write(Request(subject.model, path))
    assert problems_of(subject, "litert", path) == []
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    weights = next(d for d in interpreter.get_tensor_details() if tuple(d["shape"]) in ((3, 5), (5, 6)))
    content = bytearray(path.read_bytes())
    content[content.index(interpreter.get_tensor(weights["index"]).tobytes()) + 3] ^= 0x80  # the first weight's sign
    path.write_bytes(bytes(content))
    assert problems_of(subject, "litert", path)
    path.write_bytes(b"nonsense")
    assert problems_of(subject, "litert", path)[0].startswith("the exported model cannot be loaded in a clean process")


def test_a_difference_fails_and_is_reported(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(request: Request) -> None:
        weights = request.model.get_weights()
        try:
            request.model.set_weights([weights[0] * 1.01, *weights[1:]])
            formats._write_keras(request)
        finally:
            request.model.set_weights(weights)

    one = FORMATS["keras"]
    changed = formats.Format(one.name, one.stem, one.suffix, one.runtime, "", {}, spoiled)
    monkeypatch.setattr("kbuild.export.exporting.FORMATS", {"keras": changed})
    with pytest.raises(ParityError, match=r"model\.keras: digit: at batch size 1 predictions differ by"):
        export(a_run, "keras")
    report = json.loads((a_run / "export" / "parity.json").read_text())
    assert not report["ok"]
    assert report["problems"][0].startswith("model.keras: digit: at batch size 1")


@pytest.mark.slow
def test_mixed_precision(tmp_path: Path) -> None:
    keras: Any = import_keras()
    needs("onnx")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        subject = two_outputs()
    finally:
        keras.config.set_dtype_policy("float32")
    path = tmp_path / "model.keras"
    subject.model.save(path)
    result = export(path, "keras,onnx", fold=True)
    assert result.folder == tmp_path / "model_export"
    assert result.folded is not None
    assert result.folded["kept"] == {}
    assert len(result.artifacts) == 4


def test_a_saved_model_of_others(tmp_path: Path) -> None:
    """Activations inside the layers, and rows of one's own."""
    keras: Any = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(4, 3, use_bias=False, name="c"),
            layers.BatchNormalization(name="n"),
            layers.Activation("relu"),
            layers.Conv2D(4, 3, activation="relu", name="d"),
            layers.BatchNormalization(name="m"),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    for name in "nm":
        model.get_layer(name).moving_variance.assign([0.5, 2, 3, 1.5])
        model.get_layer(name).moving_mean.assign([0.5, -2, 3, 1.5])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(5, 8, 8, 1)))
    result = export(tmp_path / "model.keras", "keras", True, output=tmp_path / "out", data=tmp_path / "rows.npy")
    assert result.folded is not None
    assert result.folded["into"] == {"n": "c", "m": "classes"}
    assert result.origin == str(tmp_path / "rows.npy")
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["batch_sizes"] == [1, 5]


def test_formats_by_name() -> None:
    assert [one.name for one in read_formats("onnx, keras,onnx")] == ["onnx", "keras"]
    with pytest.raises(InputError, match=r"there is no format 'onx'; did you mean 'onnx'\?"):
        read_formats("onx")
    with pytest.raises(InputError, match="names no format; there are savedmodel, keras, onnx, litert"):
        read_formats(",")


def test_extras_are_named(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        export(a_run, "savedmodel,onnx,litert")
    assert str(caught.value).splitlines() == [
        "onnx needs onnx, onnxruntime, tf2onnx: pip install 'kbuild[onnx]'",
        "litert needs ai-edge-litert: pip install 'kbuild[litert]'",
    ]


def test_what_cannot_be_exported(a_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--quantize is for LiteRT models: add litert to --to"):
        export(a_run, "keras", quantize="int8")
    with pytest.raises(InputError, match="--quantize takes dynamic, float16, int8, not 'int4'"):
        export(a_run, "litert", quantize="int4")
    with pytest.raises(InputError, match="there is no model"):
        export(tmp_path / "none.keras")
    with pytest.raises(InputError, match="there is no run directory"):
        export(tmp_path / "none")
    (tmp_path / "bad.keras").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot load"):
        export(tmp_path / "bad.keras")


def test_a_saved_model_of_another_training(a_run: Path) -> None:
    plan = json.loads((a_run / "plan.json").read_text())
    dense = next(layer for layer in plan["layers"] if layer["name"] == "dense1")
    dense["use_bias"] = dense["config"]["use_bias"] = False
    dense["params"] -= 16
    dense["trainable_params"] -= 16
    (a_run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="holds other variables than the plan of the run"):
        open_source(a_run)


def test_the_command(a_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kbuild.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["export", str(a_run), "--to", "keras", "--fold"])
    assert stopped.value.code == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[:2]] == [
        f"{a_run}/export/model.keras",
        f"{a_run}/export/model_folded.keras",
    ]
    assert "folded 1 of 2 normalizations, dropped 2 dropouts" in out
    assert err.startswith("note: conv1_bn does not fold: before it stands conv1_relu (Activation), no weight layer; ")
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(a_run), "--to", "kera"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: --to: there is no format 'kera'; did you mean 'keras'?\n"
