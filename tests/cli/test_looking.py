"""`kbuild diff`, `kbuild eject` and `kbuild summarize -o` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kbuild.cli import app, main
from kbuild.resources import spec_path

DIGITS = str(spec_path("digits"))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that is refused as wrong input."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_diff_says_by_its_exit_code_whether_anything_differs() -> None:
    assert run("diff", DIGITS, DIGITS)[0] == 0
    code, text = run("diff", DIGITS, "--ordering", "W-A-D-N")
    assert code == 1
    assert "conv1 (Conv2D)  W-N-A-D → W-A-D-N" in text


def test_diff_takes_an_ordering_for_each_side() -> None:
    code, text = run("diff", DIGITS, "--ordering", "W-A", "--ordering", "W-N-A", "--json")
    found = json.loads(text)
    assert (code, found["a"]["order"], found["b"]["order"]) == (1, "W-A", "W-N-A")
    other = str(spec_path("digits_no_dropout"))
    code, text = run("diff", DIGITS, other, "--ordering", "W-A", "--json")
    found = json.loads(text)
    assert (found["a"]["order"], found["b"]["order"]) == ("W-A", "W-A")


def test_diff_draws_policies_and_orders_on_an_example() -> None:
    code, text = run("diff", "conventional", "preact")
    assert code == 1 and "closing_bn" in text
    assert run("diff", "WNAD", "conventional")[0] == 0


def test_diff_reads_runs(tmp_path: Path) -> None:
    from kbuild.plan.pipeline import compile_spec

    (tmp_path / "plan.json").write_text(compile_spec(DIGITS)[1].to_json(), encoding="utf-8")
    assert run("diff", str(tmp_path), DIGITS)[0] == 0


def test_diff_refuses_what_it_cannot_compare(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is one model only" in fails(capsys, "diff", DIGITS)
    assert "given 3 times" in fails(capsys, "diff", DIGITS, *["--ordering", "W-A"] * 3)
    assert "no run directory" in fails(capsys, "diff", str(tmp_path), DIGITS)
    assert "did you mean 'conventional'?" in fails(capsys, "diff", "conventionl", "preact")
    assert "apply to specs" in fails(capsys, "diff", "preact", "--ordering", "W-A")
    assert "cannot read nothing.yaml" in fails(capsys, "diff", "nothing.yaml", DIGITS)
    assert "saved model" in fails(capsys, "diff", "model.keras", DIGITS)


def test_diff_needs_no_tensorflow() -> None:
    code = (
        "import sys; sys.argv = ['kbuild', 'diff', 'plain', 'preact']\n"
        "from kbuild.cli import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Error" not in done.stderr, done.stderr


def test_eject_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run("eject", DIGITS, "--ordering", "W-A-D-N", "--set", "layers.5.Dense.units=48")
    assert code == 0 and "layers.Dense(48" in text and "W-A-D-N" in text
    path = tmp_path / "new" / "model.py"
    assert run("eject", DIGITS, "-o", str(path)) == (0, f"{path}\n")
    assert "--overwrite replaces it" in fails(capsys, "eject", DIGITS, "-o", str(path))
    assert run("eject", DIGITS, "-o", str(path), "--overwrite")[0] == 0
    assert run("eject", DIGITS, "-o", str(tmp_path))[0] == 0
    assert (tmp_path / "digits.py").read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_eject_brings_the_digits_along(tmp_path: Path) -> None:
    code, _ = run("eject", DIGITS, "--train", "-o", str(tmp_path / "digits.py"))
    assert code == 0 and (tmp_path / "digits.npz").is_file()
    assert 'Path(__file__).parent / "digits.npz"' in (tmp_path / "digits.py").read_text(encoding="utf-8")


def test_eject_refuses_a_spec_that_says_nothing_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("input: {shape: [4]}\nlayers: [{Dense: 2}]\n", encoding="utf-8")
    assert "no `train` section" in fails(capsys, "eject", str(path), "--train")


TRAINED = """
inputs: {image: {shape: [8, 8, 1]}, meta: {shape: [3]}}
layers:
  - {Flatten: {}, from: image, name: flat}
  - {Concatenate: {}, from: [flat, meta], name: both}
  - {Dense: {units: 6, activation: relu}}
  - {Dense: 3, name: one}
  - {Dense: 1, from: both, name: other}
train:
  data: {npz: arrays.npz, x: {image: a, meta: b}, y: {one: c, other: d}}
  loss: {one: sparse_categorical_crossentropy, other: {BinaryCrossentropy: {label_smoothing: 0.1}}}
  metrics: {one: accuracy, other: [{AUC: {}}, mse]}
  optimizer: {SGD: {learning_rate: {CosineDecay: {initial_learning_rate: 0.1, decay_steps: 100}}, momentum: 0.9}}
  callbacks: [{EarlyStopping: {patience: 3}}]
  epochs: 1
"""

AUGMENTED = """
input: {shape: [8, 8, 1]}
layers: [Flatten, {Dense: {units: 8, activation: relu}}, {Dense: 10}]
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  augment: [{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]
  validation: 0
  deterministic: true
  epochs: 1
  class_weight: {0: 2}
"""


@pytest.mark.slow
@pytest.mark.parametrize("text", [TRAINED, AUGMENTED], ids=["trained", "augmented"])
def test_the_training_runs(tmp_path: Path, text: str) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    arrays = {"a": random.normal(size=(64, 8, 8)), "b": random.normal(size=(64, 3))}
    np.savez(tmp_path / "arrays.npz", **arrays, c=random.integers(0, 3, 64), d=random.integers(0, 2, 64))
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    assert run("eject", str(tmp_path / "spec.yaml"), "--train", "-o", str(tmp_path / "code" / "train.py"))[0] == 0
    command = [sys.executable, "-I", str(tmp_path / "code" / "train.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.keras"))) == 1


@pytest.mark.slow
def test_the_training_learns_what_kbuild_train_learns(tmp_path: Path) -> None:
    path = tmp_path / "digits.py"
    assert run("eject", DIGITS, "--train", "-o", str(path), "--ordering", "plain", "--set", "train.epochs=5")[0] == 0
    done = subprocess.run(
        [sys.executable, "-I", str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    figures = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0 and figures, done.stderr
    assert float(figures[-1].split("'accuracy': ")[1].split(",")[0].rstrip("}")) > 0.9


def test_summarize_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "digits.html"
    assert run("summarize", DIGITS, "--format", "html", "-o", str(path)) == (0, f"{path}\n")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "--overwrite replaces it" in fails(capsys, "summarize", DIGITS, "-o", str(path))
    assert run("summarize", DIGITS, "--json", "-o", str(path), "--overwrite")[0] == 0
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "digits"
    assert run("summarize", DIGITS, "--format", "html")[1].startswith("<!doctype html>")
    assert "is a directory" in fails(capsys, "summarize", DIGITS, "-o", str(tmp_path / "new"), "--overwrite")
