"""`kbuild init --data`: a spec with columns typed from a file, which trains as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kbuild.errors import InputError, SpecError
from kbuild.plan.losses import resolve_losses
from kbuild.plan.pipeline import compile_spec
from kbuild.spec.reader import plain, read_text
from kbuild.train.data.load import load_data
from kbuild.train.data.table_spec import table_spec

pa = pytest.importorskip("pyarrow")

#: Every kind of column: an id, a constant, numbers with holes, whole numbers, few values, many values.
HEADER = "id,country,age,hours per week,job,street,income\n"


def row(at: int, label: str) -> str:
    age = "?" if at % 10 == 3 else str(20 + at % 37 + at / 10)
    return f"{at},nowhere, {age}, {at % 60}, {['yes', '?', 'a: b'][at % 3]}, s{at % 25}, {label}\n"


def write(path: Path, labels: list[str], rows: int = 100) -> Path:
    path.write_text(HEADER + "".join(row(at, labels[at % len(labels)]) for at in range(rows)))
    return path


def made(tmp_path: Path, labels: list[str], target: str = "income") -> tuple[str, Any]:
    text = table_spec(write(tmp_path / "people.csv", labels), target, tmp_path / "model.yaml")
    return text, plain(read_text(text, "model.yaml"))


def test_columns_are_typed_by_what_they_hold(tmp_path: Path) -> None:
    text, spec = made(tmp_path, ["<=50K", ">50K"])
    assert spec["input"]["table"] == {
        "numeric": ["age", "hours per week"],
        "category": {"job": ["?", "a: b", "yes"], "street": 26},
    }
    assert "left out: id (another value in nearly every row, as an id has)" in text
    assert "left out: country ('nowhere' in every row)" in text
    assert spec["layers"][-1] == {"Dense": 2, "name": "income"}
    assert spec["train"]["loss"] == "sparse_categorical_crossentropy"
    assert spec["train"]["data"] == {"csv": "people.csv", "y": "income", "missing": 0}
    assert "10 cells of the numeric columns are empty" in text


@pytest.mark.parametrize(
    ("labels", "units", "loss"),
    [
        (["0", "1", "2"], 3, "sparse_categorical_crossentropy"),
        (["1", "2"], 1, "mse"),
        (["0.5", "1.5", "7"], 1, "mse"),
        (["red", "green", "blue", "black"], 4, "sparse_categorical_crossentropy"),
        ([str(number) for number in range(60)], 1, "mse"),
    ],
)
def test_the_head_fits_the_target(tmp_path: Path, labels: list[str], units: int, loss: str) -> None:
    _, spec = made(tmp_path, labels)
    assert (spec["layers"][-1]["Dense"], spec["train"]["loss"]) == (units, loss)


@pytest.mark.parametrize("labels", [["a", "b"], ["0.5", "2", "9"]])
def test_the_spec_reads_its_file(tmp_path: Path, labels: list[str]) -> None:
    text, _ = made(tmp_path, labels)
    (tmp_path / "model.yaml").write_text(text)
    spec, plan = compile_spec(tmp_path / "model.yaml")
    assert spec.train is not None
    assert not plan.unresolved
    data = load_data(spec.train, plan, resolve_losses(spec.train, plan), tmp_path, 0)
    assert (data.train.rows, data.validation.rows) == (80, 20)  # type: ignore[union-attr]


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    path = write(tmp_path / "people.csv", ["a", "b"])
    text = table_spec(path, "income", tmp_path / "specs" / "model.yaml")
    assert plain(read_text(text, "x.yaml"))["train"]["data"]["csv"] == "../people.csv"


def test_separators_and_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import csv, parquet

    path = write(tmp_path / "people.csv", ["a", "b"])
    held = csv.read_csv(path)
    parquet.write_table(held, tmp_path / "people.parquet")
    spec = plain(read_text(table_spec(tmp_path / "people.parquet", "income", tmp_path / "m.yaml"), "m.yaml"))
    assert spec["train"]["data"] == {"parquet": "people.parquet", "y": "income", "missing": 0}
    nested = held.append_column("tags", pyarrow.array([[at] for at in range(held.num_rows)]))
    parquet.write_table(nested, tmp_path / "nested.parquet")
    text = table_spec(tmp_path / "nested.parquet", "income", tmp_path / "m.yaml")
    assert "    # left out: tags (of the type list<element: int64>, neither numbers nor texts)\n" in text
    with pytest.raises(InputError, match="the target 'tags' is of the type list"):
        table_spec(tmp_path / "nested.parquet", "tags", tmp_path / "m.yaml")
    path.write_text(path.read_text().replace(",", ";"))
    spec = plain(read_text(table_spec(path, "income", tmp_path / "m.yaml"), "m.yaml"))
    assert spec["train"]["data"]["delimiter"] == ";"
    assert spec["input"]["table"]["numeric"] == ["age", "hours per week"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER, "has no rows below its header"),
        (HEADER + row(1, "a") * 30, "the target 'income' is 'a' in every row"),
        (HEADER + row(1, "a") + row(2, "") + row(3, "b"), "1 rows have no 'income'; every row needs its target"),
        ("a,incomes\n1,2\n", "has no column 'income'; did you mean 'incomes'?"),
        ("k,income\n" + "c,a\nc,b\n" * 20, r"no column beside 'income' can be learnt from; k \('c' in every row\)"),
        ("k,income\n" + "".join(f"c,t{at}\n" for at in range(1500)), "1,500 different texts, too many classes"),
        ("", "has no header"),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises((InputError, SpecError), match=expected):
        table_spec(tmp_path / "people.csv", "income", tmp_path / "m.yaml")


def test_many_numbers_are_one_input(tmp_path: Path) -> None:
    names = [f"c{at}" for at in range(300)]
    rows = [",".join([str(at), *["nowhere"], *[str(at % 7)] * 300, "ab"[at % 2]]) for at in range(40)]
    (tmp_path / "people.csv").write_text("\n".join([",".join(["id", "country", *names, "income"]), *rows]) + "\n")
    text = table_spec(tmp_path / "people.csv", "income", tmp_path / "model.yaml")
    (tmp_path / "model.yaml").write_text(text)
    spec, plan = compile_spec(tmp_path / "model.yaml")
    assert [layer.cls for layer in plan.layers[:3]] == ["InputLayer", "Normalization", "Dense"]
    assert spec.train is not None
    data = load_data(spec.train, plan, resolve_losses(spec.train, plan), tmp_path, 0)
    assert data.train.x["input"].shape == (32, 300)
    mixed = ",".join([*(f"t{at}" for at in range(2001)), "income"])
    (tmp_path / "people.csv").write_text("\n".join([mixed, *[",".join(["ab"[at % 2]] * 2002) for at in range(9)]]))
    with pytest.raises(InputError, match=r"2,001 columns, .* more inputs than the limit table-columns \(2,000\)"):
        table_spec(tmp_path / "people.csv", "income", tmp_path / "model.yaml")


def test_hostile_names_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(
        '"a: #b","yes","[x]","=1+1","{q}","income\n2"\n'
        + "".join(f"{at % 7},{at % 5},z{at % 3},{at},y,c{at % 2}\n" for at in range(50))
    )
    text = table_spec(tmp_path / "people.csv", "income\n2", tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text(text)
    spec, _ = compile_spec(tmp_path / "m.yaml")
    assert [column.name for column in spec.table.numeric] == ["a: #b", "yes"]  # type: ignore[union-attr]
    assert [column.name for column in spec.table.category] == ["[x]"]  # type: ignore[union-attr]


def test_the_command(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from kbuild.cli.main import app

    path, made_at = write(tmp_path / "people.csv", ["a", "b"]), tmp_path / "out.yaml"
    done = CliRunner().invoke(app, ["init", "--data", str(path), "--target", "income", "-o", str(made_at)])
    assert done.exit_code == 0
    assert made_at.read_text().startswith("# Learns income from the other columns of people.csv")
    again = CliRunner().invoke(app, ["init", "--data", str(path), "--target", "income", "-o", str(made_at)])
    assert isinstance(again.exception, InputError)
    alone = CliRunner().invoke(app, ["init", str(tmp_path / "other.yaml"), "--data", str(path)])
    assert "they go together" in str(alone.exception)
