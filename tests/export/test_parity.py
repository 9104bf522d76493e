"""The export predicts what the model predicts, or the command fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import ParityError
from kbuild.export import parity
from kbuild.export.parity import CheckProcess, check_parity
from kbuild.export.saved_model import export_saved_model, input_names, output_names
from kbuild.model.backend import import_keras

X = {"pixels": np.random.default_rng(0).integers(0, 255, (20, 6)).astype("uint8")}


def make_model(seed: int = 0, outputs: tuple[str, ...] = ("probabilities",)) -> Any:
    keras: Any = import_keras()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,), name="pixels")
    hidden = keras.layers.Dense(5, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(hidden))
    ends = [keras.layers.Dense(3, activation="softmax", name=name)(hidden) for name in outputs]
    return keras.Model(inputs, ends if len(ends) > 1 else ends[0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = make_model()
    return model, export_saved_model(model, tmp_path_factory.mktemp("export") / "saved_model")


def checked(model: Any, path: Path, folder: Path) -> dict[str, Any]:
    with CheckProcess() as process:
        return check_parity(model, path, X, process, folder / "parity.json")


def test_names_batch_size_and_predictions(exported: tuple[Any, Path], tmp_path: Path) -> None:
    model, path = exported
    figures = checked(model, path, tmp_path)
    assert figures == json.loads((tmp_path / "parity.json").read_text())
    assert figures["ok"]
    assert figures["signature"] == {
        "inputs": {"pixels": [[None, 6], "float32"]},
        "outputs": {"probabilities": [[None, 3], "float32"]},
    }
    assert figures["batch_sizes"] == [1, 7, 20]
    output = figures["outputs"]["probabilities"]
    assert output["max_abs"] <= output["tolerance"] < 1e-4
    assert output["same_top"] == 1.0
    assert not [file for file in path.parent.iterdir() if "tmp" in file.name]


def test_export_replaces_what_was_there(exported: tuple[Any, Path], tmp_path: Path) -> None:
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "stale").write_text("")
    export_saved_model(exported[0], path)
    assert not (path / "stale").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model"]


def test_a_flipped_bit_is_found(exported: tuple[Any, Path], tmp_path: Path) -> None:
    """TensorFlow's own checksum sees it when the file is loaded."""
    model, path = exported
    damaged = shutil.copytree(path, tmp_path / "damaged")
    kernel = model.layers[-1].get_weights()[0]
    file = next(damaged.rglob("variables.data*"))
    changed = bytearray(file.read_bytes())
    changed[changed.index(kernel.tobytes()) + 3] ^= 0x80  # the sign of the first weight
    file.write_bytes(bytes(changed))
    with pytest.raises(ParityError, match=r"cannot be loaded in a clean process:\n(.*\n)*.*Checksum does not match"):
        checked(model, damaged, tmp_path)


def test_one_other_weight_is_found(exported: tuple[Any, Path], tmp_path: Path) -> None:
    changed = make_model()
    weights = changed.get_weights()
    weights[-2][0, 0] *= -1
    changed.set_weights(weights)
    path = export_saved_model(changed, tmp_path / "saved_model")
    with pytest.raises(ParityError, match=r"probabilities: at batch size \d+ predictions differ by"):
        checked(exported[0], path, tmp_path)
    figures = json.loads((tmp_path / "parity.json").read_text())
    assert not figures["ok"]
    assert figures["outputs"]["probabilities"]["max_abs"] > figures["outputs"]["probabilities"]["tolerance"]


def test_swapped_outputs_are_found(tmp_path: Path) -> None:
    model = make_model(outputs=("a", "b"))
    swapped = make_model(outputs=("a", "b"))
    swapped.set_weights([*model.get_weights()[:-4], *model.get_weights()[-2:], *model.get_weights()[-4:-2]])
    path = export_saved_model(swapped, tmp_path / "saved_model")
    with pytest.raises(ParityError, match="a: at batch size 1 predictions differ"):
        checked(model, path, tmp_path)


def test_other_names_are_found(exported: tuple[Any, Path], tmp_path: Path) -> None:
    model = make_model(outputs=("logits",))
    with pytest.raises(ParityError, match="has the outputs probabilities, the model has logits"):
        checked(model, exported[1], tmp_path)


def test_a_broken_export_is_reported_with_the_end_of_stderr(exported: tuple[Any, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(exported[1], tmp_path / "broken")
    (broken / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ParityError, match=r"cannot be loaded in a clean process:\n(.*\n)*.*saved_model.pb"):
        checked(exported[0], broken, tmp_path)


def test_a_process_that_hangs(exported: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "TIMEOUT", 0.01)
    with pytest.raises(ParityError, match=r"did not answer within 0\.01 s"):
        checked(*exported, tmp_path)


def test_names_that_a_signature_cannot_have() -> None:
    keras: Any = import_keras()
    inputs = keras.Input((2,), name="in.put-1")
    model = keras.Model(inputs, keras.layers.Dense(1, name="out.put")(inputs))
    assert input_names(model) == ["in_put_1"]
    assert output_names(model) == ["out.put"]


SCRIPT = Path(parity.__file__).with_name("check_process.py")


def test_the_script_imports_nothing_of_kbuild_or_keras() -> None:
    text = SCRIPT.read_text()
    assert "import keras" not in text
    assert "from kbuild" not in text
    assert "import kbuild" not in text


def test_the_process_ends_when_its_parent_does() -> None:
    """The parent is killed without a chance to clean up."""
    code = (
        "import os, sys\nfrom kbuild.export.parity import CheckProcess\n"
        "process = CheckProcess()\nprint(process._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    pid = int(done.stdout)
    import time

    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    pytest.fail("the checking process outlived its parent")
