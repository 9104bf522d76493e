"""What is no model file, or none that kbuild reads, says so; nothing large is ever unpacked."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import h5py
import pytest

from kbuild.errors import InputError
from kbuild.importing import reader
from kbuild.importing.reader import read_config

CONFIG = {"class_name": "Functional", "config": {"layers": []}}


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(tmp_path, **members):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def hdf5(tmp_path, **attributes):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
    return path


def message(path):
    with pytest.raises(InputError) as caught:
        read_config(path)
    return str(caught.value).replace(f"{path}", "FILE")


def test_the_config_of_every_kind_of_file(tmp_path):
    text = json.dumps(CONFIG)
    files = [zipped(tmp_path, config_json=text), hdf5(tmp_path, model_config=text), written(tmp_path, "m.json", text)]
    assert [read_config(path) for path in files] == [CONFIG] * 3


def test_a_missing_file(tmp_path):
    for suffix in reader.MODEL_SUFFIXES:
        path = tmp_path / f"nowhere{suffix}"
        assert message(path) == "cannot read FILE: there is no such file"


def test_a_directory_and_another_suffix(tmp_path):
    assert "is a directory; a model is a .keras, .h5 or .json file" in message(tmp_path)
    assert message(written(tmp_path, "m.pt", "x")) == (
        "FILE is no model file; its name ends in .keras, .h5, .hdf5, .json"
    )


def test_what_is_no_zip_archive(tmp_path):
    assert message(written(tmp_path, "m.keras", "x")) == "FILE is no .keras file: a .keras file is a zip archive"
    renamed = hdf5(tmp_path, model_config="{}").rename(tmp_path / "m.keras")
    assert message(renamed).endswith("it is an HDF5 file: rename it to .h5")


def test_an_archive_of_something_else(tmp_path):
    assert message(zipped(tmp_path, other_txt="x")) == (
        "FILE is a zip archive without config.json, no saved model; a .keras file of Keras 3 has one"
    )


def test_a_bomb_is_refused_without_unpacking_it(tmp_path, monkeypatch):
    monkeypatch.setitem(reader.LIMITS, "model-config", 1000)
    assert message(zipped(tmp_path, config_json=" " * 2_000_000)) == (
        "FILE: the model's config is larger than the limit model-config (1,000 bytes)"
    )
    assert "larger than the limit" in message(written(tmp_path, "m.json", " " * 1001))


def test_a_damaged_archive(tmp_path):
    path = zipped(tmp_path, config_json=json.dumps(CONFIG) * 100)
    raw = bytearray(path.read_bytes())
    raw[60:90] = bytes(30)
    path.write_bytes(raw)
    assert "config.json" in message(path)


def test_weights_alone(tmp_path):
    assert message(hdf5(tmp_path, backend="tensorflow")) == (
        "FILE has no attribute model_config: it holds weights alone; save the whole model with model.save()"
    )
    assert message(written(tmp_path, "m.hdf5", "x")) == "FILE is no HDF5 file"


def test_keras_2_says_what_to_do(tmp_path):
    hint = "whose format kbuild does not read; load it with Keras 3 and save it again as .keras"
    text = json.dumps(CONFIG)
    assert (
        message(hdf5(tmp_path, model_config=text, keras_version="2.15.0")) == f"FILE was saved by Keras 2.15.0, {hint}"
    )
    old = json.dumps({**CONFIG, "keras_version": "2.4.0"})
    assert message(written(tmp_path, "m.json", old)) == f"FILE was saved by Keras 2.4.0, {hint}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "the model's config is not JSON"),
        ("[" * 100_000, "the model's config is not JSON"),
        ("[]", "holds no model's config"),
        ('{"a": 1}', "holds no model's config"),
        ("\udcff".encode("utf-8", "surrogatepass"), "the model's config is not UTF-8"),
    ],
)
def test_json_that_is_no_model(tmp_path, text, says):
    assert says in message(written(tmp_path, "m.json", text))


def test_no_tensorflow_is_imported(tmp_path):
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "in"}},
        {"class_name": "Dense", "config": {"name": "out", "units": 2, "trainable": True}},
    ]
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    path = written(tmp_path, "m.json", json.dumps(model))
    code = (
        "import sys; from kbuild.importing import import_model, plan_of_model; "
        "import_model(sys.argv[1]); plan_of_model(sys.argv[1]); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
