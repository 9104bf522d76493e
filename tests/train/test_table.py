"""Tables: columns typed as the model takes them, labels, missing and broken cells, files too large for the memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError
from kbuild.spec.data import DataSettings
from kbuild.train.data import memory, table_rows
from kbuild.train.data.arrays import Data
from kbuild.train.data.sources import data_at

pa = pytest.importorskip("pyarrow")

SPEC = """\
input:
  table:
    numeric: [age, hours-per-week]
    category: {job: [tech, admin], city: 5}
layers:
  - {Dense: 2, name: out}
train:
  data: {csv: people.csv, y: income}
  loss: sparse_categorical_crossentropy
  epochs: 2
  validation: 0
  deterministic: true
"""

PLAIN = """\
input: {shape: [2]}
layers:
  - {Dense: 1, name: out}
train:
  data: {csv: people.csv, y: income}
  loss: mse
  epochs: 1
  validation: 0
"""

ROWS = "age, hours-per-week ,job,city,income\n30,40,tech, rome,<=50K\n51.5, 3 ,?,oslo, >50K\n1e2,0,admin,rome,>50K\n"

NUMBERS = "a,b,w,income\n1,2,1,0.5\n3,4,0,1.5\n"


def people(rows: int) -> str:
    """Rows like those of a census, the same on every machine."""
    draw = np.random.default_rng(7)
    lines = ["age,hours-per-week,job,city,income"]
    for _ in range(rows):
        age, hours = int(draw.integers(18, 80)), int(draw.integers(5, 70))
        job, city = ["tech", "admin", "?"][int(draw.integers(3))], ["rome", "oslo", "lima"][int(draw.integers(3))]
        rich = (age - 45) / 20 + (hours - 35) / 15 + (job == "tech") * 1.5 + (city == "oslo") > 0.5
        lines.append(f"{age}, {hours}, {job}, {city}, {'>50K' if rich else '<=50K'}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def load(tmp_path: Path, loaded: Callable[..., Data]) -> Callable[..., Data]:
    """The file's text (or bytes) and the spec's → Data."""

    def read(content: str | bytes, text: str = SPEC, *overrides: str) -> Data:
        (tmp_path / "people.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return loaded(text, *overrides)

    return read


def told(load: Callable[..., Data], *args: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(*args)
    return [f"{problem.message} | {problem.hint}" for problem in caught.value.problems]


def test_columns_by_their_names(load: Callable[..., Data]) -> None:
    data = load(ROWS)
    assert {name: values.tolist() for name, values in data.train.x.items()} == {
        "age": [[30.0], [51.5], [100.0]],
        "hours_per_week": [[40.0], [3.0], [0.0]],
        "job": [["tech"], ["?"], ["admin"]],
        "city": [["rome"], ["oslo"], ["rome"]],
    }
    assert data.train.x["age"].dtype == "float32"
    assert data.train.y["out"].tolist() == [0, 1, 1]
    assert data.classes == {"out": ("<=50K", ">50K")}


def test_the_order_of_columns_is_nothing(load: Callable[..., Data]) -> None:
    turned = "\n".join(",".join(reversed(line.split(","))) for line in ROWS.splitlines())
    one, other = load(ROWS).train, load(turned).train
    assert all((one.x[name] == other.x[name]).all() for name in one.x)


def test_a_parquet_file_for_a_run_on_csv() -> None:
    own = DataSettings("csv", "people.csv", {"y": "income", "missing": 0.0, "test": "held.csv"})
    found = data_at(Path("new.parquet"), own)
    assert (found.kind, found.options) == ("parquet", {"y": "income", "missing": 0.0})


def test_numbers_side_by_side(load: Callable[..., Data]) -> None:
    data = load(NUMBERS, PLAIN, "train.data.sample_weight=w")
    assert data.train.x["input"].tolist() == [[1, 2], [3, 4]]
    assert data.train.y["out"].tolist() == [[0.5], [1.5]]
    assert data.train.weight is not None
    assert data.train.weight[""].tolist() == [1, 0]
    assert load(NUMBERS, PLAIN, "train.data.x=[w, a]").train.x["input"].tolist() == [[1, 1], [0, 3]]


def test_separators_headers_and_test_files(load: Callable[..., Data], tmp_path: Path) -> None:
    content = "1;2;0.5\n3;4;1.5\n"
    (tmp_path / "held.csv").write_text("5;6;1\n")
    data = load(
        content, PLAIN, "train.data.delimiter=';'", "train.data.header=[a, b, income]", "train.data.test=held.csv"
    )
    assert data.train.x["input"].tolist() == [[1, 2], [3, 4]]
    assert data.test is not None
    assert data.test.x["input"].tolist() == [[5, 6]]


def test_labels_of_the_test_file_are_numbered_like_the_training_labels(
    load: Callable[..., Data], tmp_path: Path
) -> None:
    (tmp_path / "held.csv").write_text("age,hours-per-week,job,city,income\n1,1,a,a,>50K\n")
    data = load(ROWS, SPEC, "train.data.test=held.csv")
    assert data.test is not None
    assert data.test.y["out"].tolist() == [1]
    (tmp_path / "held.csv").write_text("age,hours-per-week,job,city,income\n1,1,a,a,>70K\n")
    (message,) = told(load, ROWS, SPEC, "train.data.test=held.csv")
    assert "held.csv, row 1, column 'income': '>70K' is none of the classes | classes: <=50K, >50K" in message


def test_a_number_for_missing_ones(load: Callable[..., Data]) -> None:
    holes = ROWS.replace("30,", "?,").replace("51.5", "")
    assert load(holes, SPEC, "train.data.missing=-1").train.x["age"].tolist() == [[-1], [-1], [100]]
    (message,) = told(load, holes)
    assert "people.csv, row 1, column 'age': '?' is no value (2 such cells: also in the rows 2)" in message
    assert "`missing: NUMBER`" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "people.csv has no header"),
        ("age,hours-per-week,job,city,income\n", "people.csv has no rows below its header"),
        ("age,age,job\n1,2,3\n", "people.csv: two columns are called 'age' | rename"),
        (ROWS + "1,2,3\n", "people.csv, row 4: 3 values, but there are 5 columns"),
        (ROWS + "1,2,3,4,5,6\n", "row 4: 6 values, but there are 5 columns | a value that holds ','"),
        (ROWS.encode() + b"1,2,caf\xe9,rome,>50K\n", "people.csv, line 5: the text is not UTF-8 | for example: iconv"),
        (b"ag\xe9,b\n1,2\n", "people.csv, line 1: the text is not UTF-8"),
        (ROWS.encode("utf-16"), "people.csv is written in UTF-16 | save it as UTF-8"),
        (ROWS.replace("age", "agee"), "people.csv has no column 'age' | did you mean 'agee'?"),
        (ROWS.replace("30,", "abc,"), "people.csv, row 1, column 'age': 'abc' is not a number"),
        (ROWS.replace("30,", "1e60,"), "row 1, column 'age': '1e60' is more than float32 can hold"),
        (ROWS.replace("30,", "inf,"), "row 1, column 'age': 'inf' is not a finite number"),
        (ROWS.replace(", >50K", ","), "row 2, column 'income': there is no label"),
        (
            ROWS + "1,2,a,b,c\n",
            "'income' has 3 labels (<=50K, >50K, c), but 'out' has 2 units, for 2 classes | write `Dense: 3`",
        ),
        (ROWS.replace("<=", ">"), "the target 'income' is '>50K' in every row | there is nothing to learn"),
        (ROWS + '"1,2,3,4,5', "a quote is opened and not closed"),
        (b"c0," * 100_001, "people.csv has more columns than the limit file-columns (100000)"),
        ("age\n" + "1" * 2**24, "people.csv has no column 'hours_per_week'"),
        (ROWS + "1,2,a," + "b" * 2**24 + ",>50K\n", "a row is longer than the limit row-bytes (8388608)"),
        (b"PAR1....", "people.csv is a Parquet file"),
    ],
)  # fmt: skip
def test_broken_files(load: Callable[..., Data], content: str | bytes, expected: str) -> None:
    assert expected in told(load, content)[0]


def test_every_column_at_fault_is_told(load: Callable[..., Data]) -> None:
    messages = told(load, ROWS.replace("30,40", "x,y"))
    assert ["'age'" in messages[0], "'hours-per-week'" in messages[1], len(messages)] == [True, True, 2]


def test_a_mark_of_byte_order_is_no_part_of_a_name(load: Callable[..., Data]) -> None:
    assert load(b"\xef\xbb\xbf" + ROWS.encode()).train.x["age"].shape == (3, 1)


def test_whole_numbers_are_exact(load: Callable[..., Data]) -> None:
    grades = SPEC.replace("{job: [tech, admin], city: 5}", "{grade: [1, 2]}")
    content = "age,hours-per-week,grade,income\n1,1,9007199254740991,a\n1,1,-2,b\n"
    values = load(content, grades).train.x["grade"]
    assert (values.dtype, values.tolist()) == (np.int64, [[9007199254740991], [-2]])
    (message,) = told(load, content.replace("0991", "0993"), grades)
    assert "row 1, column 'grade': '9007199254740993' is beyond 2^53" in message
    (message,) = told(load, content.replace("-2", "1.5"), grades)
    assert "row 2, column 'grade': '1.5' is not a whole number" in message


@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        ("job", [["tech"], ["admin"]], "column 'job': \"['tech']\" is of the type list<element: string>, not a text"),
        ("city", [b"\xff", b"rome"], "column 'city': \"b'\\\\xff'\" is of the type binary, not a text"),
        ("income", [{"a": 1}, {"a": 2}], "column 'income': \"[('a', 1)]\" is of the type struct<a: int64>, not a text"),
        ("age", [[1], [2]], "column 'age': '[1]' is of the type list<element: int64>, not a number"),
        ("grade", [2**53 + 2, 1], "column 'grade': '9007199254740994' is beyond 2^53, where numbers are not exact"),
    ],
)
def test_types_of_parquet_that_are_neither_numbers_nor_texts(
    load: Callable[..., Data], tmp_path: Path, column: str, values: list[Any], text: str
) -> None:
    from pyarrow import parquet

    spec = SPEC.replace("csv: people.csv", "parquet: people.parquet").replace("city: 5}", "city: 5, grade: [1, 2]}")
    columns = {"age": [1, 2], "hours-per-week": [1, 2], "job": ["tech", "admin"], "city": ["rome", "oslo"]}
    columns |= {"grade": [1, 2], "income": ["low", "high"], column: values}
    parquet.write_table(pa.table(columns), tmp_path / "people.parquet")
    (message,) = told(load, "", spec)
    assert f"row 1, {text}" in message


def test_large_whole_numbers_are_rounded_alike(load: Callable[..., Data], tmp_path: Path) -> None:
    from pyarrow import csv, parquet

    content = "a,b,income\n1152921504606846977,2,0.5\n3,4,1.5\n"
    held = load(content, PLAIN).train.x["input"]
    parquet.write_table(csv.read_csv(tmp_path / "people.csv"), tmp_path / "people.parquet")
    found = load("", PLAIN.replace("csv: people.csv", "parquet: people.parquet")).train.x["input"]
    assert found.tolist() == held.tolist() == [[2.0**60, 2], [3, 4]]


def test_without_pyarrow(load: Callable[..., Data], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (message,) = told(load, ROWS)
    assert message == "tables are read by pyarrow, which is not installed | pip install 'kbuild[table]'"


def test_line_ends_and_quotes(load: Callable[..., Data]) -> None:
    content = ROWS.replace("tech", '"te\nch, ""x"""').replace("\n30", "\r\n30")
    assert load(content).train.x["job"].tolist() == [['te\nch, "x"'], ["?"], ["admin"]]


def test_texts_are_no_target_of_a_regression(load: Callable[..., Data]) -> None:
    (message,) = told(load, NUMBERS.replace("0.5", "rich"), PLAIN, "train.data.x=[a, b]")
    assert "row 1, column 'income': 'rich' is not a number" in message


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_on_disk_gives_the_same_rows(
    load: Callable[..., Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    text = SPEC
    if kind == "parquet":
        from pyarrow import csv, parquet

        (tmp_path / "people.csv").write_text(people(500).replace(", ", ","))
        parquet.write_table(csv.read_csv(tmp_path / "people.csv"), tmp_path / "people.parquet", row_group_size=64)
        text = SPEC.replace("csv: people.csv", "parquet: people.parquet")
    held = load(people(500), text).train
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0)
    monkeypatch.setattr(table_rows, "_BATCH", 100)
    kept = load(people(500), text).train
    assert held.resident
    assert not kept.resident
    order = np.random.default_rng(0).permutation(500)
    for name, values in held.x.items():
        assert (kept.x[name][order] == values[order]).all()
        assert (kept.x[name][17:230] == values[17:230]).all()
        assert kept.x[name][:0].shape == (0, 1)
    assert (kept.y["out"] == held.y["out"]).all()


def weights(tmp_path: Path, compiled: Callable[..., Any], text: str, *overrides: str) -> list[np.ndarray]:
    from kbuild.train.run import train

    spec, plan = compiled(text, *overrides)
    run = train(spec, plan, run_dir=tmp_path / "run", overwrite=True, quiet=True)
    from kbuild.train.checkpoint import values_of

    return [value for _, value in values_of(run.run_dir / "checkpoints" / "last" / "state.npz")]


@pytest.mark.slow
def test_streamed_tables_train_to_the_same_weights(
    tmp_path: Path, compiled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people.csv").write_text(people(300))
    held = weights(tmp_path, compiled, SPEC)
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0)
    kept = weights(tmp_path, compiled, SPEC)
    assert all((one == other).all() for one, other in zip(held, kept, strict=True))
