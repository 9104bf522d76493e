"""A table from file to server: `kbuild init --data`, `kbuild train`, and the export in a process without kbuild."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kbuild.cli.main import app
from kbuild.spec.load import load_spec

pytest.importorskip("pyarrow")

#: What a server does: TensorFlow and the folder, nothing else.
SERVE = """
import json, sys
import tensorflow as tf
rows = json.loads(sys.argv[2])
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
given = {name: tf.constant([[row[name]] for row in rows], spec.dtype)
         for name, spec in serve.structured_input_signature[1].items()}
(scores,) = serve(**given).values()
assert not any(name.split(".")[0] == "kbuild" for name in sys.modules)
print(json.dumps([scores.numpy().argmax(1).tolist(), sorted(given)]))
"""


def adult(rows: int) -> str:
    """Rows like those of the census data "Adult", the same on every machine; some of the jobs are not known."""
    draw = np.random.default_rng(11)
    lines = ["id,age,workclass,education-num,occupation,hours per week,country,income"]
    for i in range(rows):
        age, years, hours = int(draw.integers(17, 90)), int(draw.integers(1, 17)), int(draw.integers(1, 99))
        work = ["Private", "State-gov", "?"][int(draw.integers(3))]
        job = ["Sales", "Tech-support", "Craft-repair", "?"][int(draw.integers(4))]
        rich = (years - 8) / 4 + (hours - 50) / 25 + 2 * (job == "Tech-support") - (work == "?") > 0.3
        label = ">50K" if rich else "<=50K"
        lines.append(f"{1000 + i}, {age}, {work}, {years}, {job}, {hours}, Mars, {label}")
    return "\n".join(lines) + "\n"


def kbuild(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kbuild", *args]
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, timeout=600)


def init(folder: Path, content: str, target: str = "income") -> tuple[int, str]:
    (folder / "people.csv").write_text(content)
    given = ["init", "--data", str(folder / "people.csv"), "--target", target, "-o", str(folder / "spec.yaml")]
    done = CliRunner().invoke(app, given)
    return done.exit_code, str(done.exception or "")


def test_the_spec_of_a_table(tmp_path: Path) -> None:
    assert init(tmp_path, adult(300))[0] == 0
    text = (tmp_path / "spec.yaml").read_text()
    assert "# left out: id (another value in nearly every row, as an id has)" in text
    assert "# left out: country ('Mars' in every row)" in text
    assert "{Dense: 2, name: income}  # 2 classes: <=50K, >50K" in text
    table = load_spec(tmp_path / "spec.yaml").table
    assert table is not None
    assert [column.name for column in table.numeric] == ["age", "education-num", "hours per week"]
    assert {column.name: [item.value for item in column.vocabulary.items] for column in table.category} == {
        "workclass": ["?", "Private", "State-gov"],
        "occupation": ["?", "Craft-repair", "Sales", "Tech-support"],
    }


def test_a_number_to_learn_and_holes(tmp_path: Path) -> None:
    rows = adult(60).replace("id,age", "id;x,age").splitlines()
    semicolons = "\n".join(line.replace(", ", ";").replace(",", ";") for line in rows).replace("id;x", "id")
    assert init(tmp_path, semicolons.replace("\n1003;", "\n;"), "age")[0] == 0
    text = (tmp_path / "spec.yaml").read_text()
    assert 'delimiter: ";"' in text
    assert "loss: mse" in text
    assert "{Dense: 1, name: age}  # a number" in text


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("a,income\n1,x\n2,x\n", "income", "the target 'income' is 'x' in every row"),
        ("a,income\n1,x\n2,\n3,y\n", "income", "1 rows have no 'income'"),
        ("a,income\n1,x\n2,y\n", "incme", "has no column 'incme'; did you mean 'income'?"),
        ("income\nx\ny\n", "income", "no column beside 'income' can be learnt from"),
        ("a,income\n", "income", "has no rows below its header"),
    ],
)
def test_tables_that_cannot_be_learnt(tmp_path: Path, content: str, target: str, message: str) -> None:
    code, told = init(tmp_path, content, target)
    assert code != 0
    assert message in told


@pytest.mark.slow
def test_from_a_file_to_a_server(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(adult(1500))
    asked = ("init", "--data", "people.csv", "--target", "income", "-o", "spec.yaml")
    assert kbuild(*asked, folder=tmp_path).returncode == 0
    trained = kbuild("train", "spec.yaml", "--run-dir", "run", "--quiet", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert json.loads((tmp_path / "run/classes.json").read_text()) == {"income": ["<=50K", ">50K"]}
    assert metrics["metrics"]["validation"]["accuracy"] > 0.8
    rich = {"age": 40, "workclass": "Private", "education_num": 16, "occupation": "Tech-support", "hours_per_week": 98}
    poor = {"age": 40, "workclass": "?", "education_num": 1, "occupation": "an unknown one", "hours_per_week": 2}
    (tmp_path / "elsewhere").mkdir()
    served = subprocess.run(
        [sys.executable, "-I", "-c", SERVE, str(tmp_path / "run/export/saved_model"), json.dumps([rich, poor])],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert served.returncode == 0, served.stderr
    assert json.loads(served.stdout.splitlines()[-1]) == [[1, 0], sorted(rich)]
