"""`evaluate` and `predict` on a finished run."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, KbuildError, SpecError
from kbuild.train.evaluate import evaluate
from kbuild.train.predict import predict
from kbuild.train.run import train

DIGITS = Path(__file__).parents[2] / "kbuild" / "data" / "digits.npz"


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    with np.load(DIGITS) as archive:
        return np.array(archive["x_test"])


def test_evaluate_agrees_with_the_training(small_run: Any) -> None:
    for best in (False, True):
        result = evaluate(small_run.run_dir, best=best, quiet=True)
        assert result["rows"] == {"validation": 144, "test": 360}
        for split, metrics in result["metrics"].items():
            assert metrics == pytest.approx(small_run.metrics[split], rel=1e-5)


def test_values_of_several_outputs_are_called_as_in_the_training(compiled: Callable[..., Any], tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    arrays = {"x_train": dice.normal(size=(60, 4)), "kind": dice.integers(0, 3, 60), "size": dice.integers(0, 2, 60)}
    np.savez(tmp_path / "two.npz", **arrays)
    text = """
input: {shape: [4]}
layers:
  - {Dense: 8, name: body}
  - {Dense: 3, name: kind}
  - {Dense: 2, name: size, from: body}
outputs: [kind, size]
train:
  data: {npz: two.npz, y: {kind: kind, size: size}}
  loss: {kind: sparse_categorical_crossentropy, size: sparse_categorical_crossentropy}
  metrics: {kind: [accuracy], size: [accuracy]}
  epochs: 1
  batch_size: 60
"""
    trained = train(*compiled(text), run_dir=tmp_path / "run", quiet=True)
    assert {"kind_accuracy", "size_accuracy", "kind_loss"} <= set(trained.metrics["validation"])
    for best in (False, True):
        found = evaluate(trained.run_dir, best=best, quiet=True)["metrics"]["validation"]
        assert found == pytest.approx(trained.metrics["validation"], rel=1e-5)


def test_evaluate_on_a_file(small_run: Any) -> None:
    result = evaluate(small_run.run_dir, data=DIGITS, quiet=True)
    assert result["metrics"]["data"] == pytest.approx(small_run.metrics["test"], rel=1e-5)


def test_a_run_can_be_moved(small_run: Any, tmp_path: Path) -> None:
    moved = shutil.copytree(small_run.run_dir, tmp_path / "elsewhere")
    assert evaluate(moved, quiet=True)["metrics"]["test"] == pytest.approx(small_run.metrics["test"], rel=1e-5)


def test_evaluate_refuses(small_run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run directory"):
        evaluate(tmp_path / "none")
    with pytest.raises(InputError, match="is not a run of kbuild"):
        evaluate(tmp_path)
    with pytest.raises(SpecError, match="there is no file"):
        evaluate(small_run.run_dir, data=tmp_path / "none.npz")
    np.savez(tmp_path / "bad.npz", x=np.zeros((2, 3)), y=np.zeros(2, int))
    with pytest.raises(SpecError, match=r"x has rows of the shape \[3\], but the input 'input' takes \[8, 8, 1\]"):
        evaluate(small_run.run_dir, data=tmp_path / "bad.npz")
    unfinished = shutil.copytree(small_run.run_dir, tmp_path / "unfinished")
    shutil.rmtree(unfinished / "export")
    (unfinished / "checkpoints" / "best.keras").write_bytes(b"damaged")
    with pytest.raises(InputError, match="the run has no exported model"):
        evaluate(unfinished, quiet=True)
    with pytest.raises(InputError, match=r"cannot load .*best\.keras"):
        evaluate(unfinished, best=True, quiet=True)


def test_the_kinds_of_input_agree(small_run: Any, x: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", x[:9])
    np.savez(tmp_path / "x.npz", images=x[:9], other=x[:2])
    np.savetxt(tmp_path / "x.csv", x[:9].reshape(9, -1), delimiter=",", header=",".join("abcdefgh" * 8), comments="")
    results = []
    for name, array in (("x.npy", None), ("x.npz", "images"), ("x.csv", None)):
        stdout = io.StringIO()
        assert predict(small_run.run_dir, tmp_path / name, array=array, stdout=stdout)["rows"] == 9
        results.append([json.loads(line) for line in stdout.getvalue().splitlines()])
    assert results[0] == results[1] == results[2]
    row = results[0][3]
    assert row["row"] == 3
    assert row["class"] == int(np.argmax(row["out"]))


def test_the_kinds_of_output_agree(small_run: Any, tmp_path: Path) -> None:
    for name in ("p.npy", "p.csv", "p.jsonl"):
        done = predict(small_run.run_dir, DIGITS, tmp_path / name)
        assert (done["rows"], done["output"]) == (360, str(tmp_path / name))
    array = np.load(tmp_path / "p.npy")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", names=True)
    assert table.dtype.names == ("row", *(f"out_{i}" for i in range(10)), "out_class")
    np.testing.assert_allclose(array, [line["out"] for line in lines], rtol=1e-6)
    np.testing.assert_allclose(array[:, 4], table["out_4"], rtol=1e-6)
    np.testing.assert_array_equal(array.argmax(1), table["out_class"])
    best = predict(small_run.run_dir, DIGITS, tmp_path / "best.npy", best=True)
    assert best["model"].endswith("best.keras")
    np.testing.assert_allclose(array, np.load(tmp_path / "best.npy"), rtol=1e-4, atol=1e-5)


def test_an_existing_output_is_kept(small_run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.npy").write_text("mine")
    with pytest.raises(InputError, match="exists; --overwrite replaces it"):
        predict(small_run.run_dir, DIGITS, tmp_path / "p.npy")
    assert (tmp_path / "p.npy").read_text() == "mine"
    predict(small_run.run_dir, DIGITS, tmp_path / "p.npy", overwrite=True)
    assert len(np.load(tmp_path / "p.npy")) == 360


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "there is no file"),
        ("a.txt", b"", "inputs are .npz, .npy, .csv"),
        ("a.npy", b"nonsense", "cannot read"),
        ("a.npz", b"nonsense", "is not a NumPy archive"),
        ("a.csv", b"1,2,3\n", "line 1: 3 values, but the input 'input' takes 64"),
        ("a.csv", b"a,b\n" + b"1," * 63 + b"x\n", "line 2: 'x' is not a finite number"),
        ("a.csv", b"1," * 63 + b"1\n" + b"nan," * 63 + b"1\n", "line 2: 'nan' is not a finite number"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_bad_inputs(small_run: Any, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(KbuildError) as caught:
        predict(small_run.run_dir, tmp_path / name, tmp_path / "out.npy")
    assert caught.value.exit_code == 2
    assert message in str(caught.value)
    assert not (tmp_path / "out.npy").exists()


def test_arrays_that_do_not_fit(small_run: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"rows have the shape \[5\], but the input 'input' takes \[8, 8, 1\]"):
        predict(small_run.run_dir, tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 1)))
    with pytest.raises(InputError, match="a single example needs a first axis of size 1"):
        predict(small_run.run_dir, tmp_path / "a.npy")
    holes = np.zeros((3, 8, 8))
    holes[2, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", holes)
    with pytest.raises(InputError, match="row 2 of input holds a value that is not a finite number"):
        predict(small_run.run_dir, tmp_path / "a.npy", tmp_path / "o.npy")
    np.savez(tmp_path / "a.npz", one=np.zeros(2), two=np.zeros(2))
    with pytest.raises(InputError, match="holds the arrays one, two; say which one"):
        predict(small_run.run_dir, tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"predictions are written as \.npy, \.csv, \.jsonl"):
        predict(small_run.run_dir, DIGITS, tmp_path / "out.xlsx")
