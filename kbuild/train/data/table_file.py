"""CSV and Parquet files as batches of Arrow columns; what is wrong with a file as a file, told with its rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import Problem, Span, SpecError
from kbuild.spec.data import DataSettings
from kbuild.train.data.npz import fail

#: Bounds by the name the error shows: columns of a file, bytes of one of its rows.
LIMITS = {"file-columns": 100_000, "row-bytes": 8 * 2**20}

#: Rows of a wrong length that are told.
_TOLD = 10


def import_arrow(span: Span | None) -> Any:
    """The package pyarrow.

    Raises:
        SpecError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        fail("tables are read by pyarrow, which is not installed", span, "pip install 'kbuild[table]'")
    return pyarrow


@dataclass(frozen=True)
class TableFile:
    """A file of rows, opened.

    Attributes:
        path: of the file.
        header: column → its name as the file writes it, with the blanks around it; keys are without.
        bytes: what its columns may take in memory, at a guess from above.
        span: of the setting that names it.
    """

    path: Path
    header: dict[str, str]
    bytes: int
    kind: str
    delimiter: str
    named: tuple[str, ...]
    span: Span | None

    def batches(self, columns: list[str]) -> Iterator[list[Any]]:
        """The columns of some rows after the other, as Arrow arrays: of a CSV file as text.

        Raises:
            SpecError: rows of another length, bytes that are not UTF-8, a damaged file.
        """
        read = self._csv if self.kind == "csv" else self._parquet
        names = [self.header[column] for column in columns]
        for batch in read(list(dict.fromkeys(names))):
            yield [batch.column(name) for name in names]

    def _csv(self, names: list[str]) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        bad: list[tuple[int | None, int, int, bool]] = []

        def ragged(row: Any) -> str:
            odd = row.text.count('"') % 2 == 1
            bad.append((row.number, row.actual_columns, row.expected_columns, odd))
            return "skip" if len(bad) < _TOLD else "error"

        first = {"column_names": list(self.named)} if self.named else {}
        try:
            reader = arrow_csv.open_csv(
                self.path,
                arrow_csv.ReadOptions(use_threads=False, block_size=LIMITS["row-bytes"], **first),
                arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=ragged),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), include_columns=names, strings_can_be_null=False
                ),
            )
            yield from reader
        except (pa.ArrowInvalid, OSError) as error:
            if not bad:
                fail(*self._explain(str(error)))
        if bad:
            raise SpecError([self._ragged(*one) for one in bad])

    def _ragged(self, line: int | None, actual: int, expected: int, odd: bool) -> Problem:
        header = 0 if self.named else 1
        place = f"{self.path}, row {line - header}" if line else str(self.path)
        message = f"{place}: {actual} values, but there are {expected} columns"
        hint = f"a value that holds {self.delimiter!r} stands in quotes" if actual > expected else ""
        hint = "a quote is opened and not closed" if odd else hint
        return Problem("data", message, self.span, hint)

    def _explain(self, message: str) -> tuple[str, Span | None, str]:
        """What Arrow found, in plain words."""
        if "UTF8" in message:
            return _not_utf8(self.path, self.span)
        if "straddling" in message or "too large" in message:
            limit = f"the limit row-bytes ({LIMITS['row-bytes']})"
            return f"{self.path}: a row is longer than {limit}", self.span, "is a quote not closed?"
        return f"cannot read {self.path}: {message.splitlines()[0][:200]}", self.span, ""

    def _parquet(self, names: list[str]) -> Iterator[Any]:
        from pyarrow import parquet

        with _damage(self.path, self.span), parquet.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=65_536, columns=names)


def open_table(data: DataSettings, source: str, folder: Path, option: str) -> TableFile:
    """A file of the settings, its header read.

    Args:
        option: that names the file.

    Raises:
        SpecError: no such file, no header, the same name twice; pyarrow is missing.
    """
    span = data.place(option)
    import_arrow(span)
    path = folder / source
    if path.is_dir():
        fail(f"{path} is a directory, not a file", span)
    if not path.exists():
        fail(f"there is no file {path}", span, "paths are relative to the spec's file")
    delimiter, named = data.options.get("delimiter", ","), data.options.get("header", ())
    if data.kind == "csv":
        names = list(named) or _csv_header(path, delimiter, span)
        size = 4 * path.stat().st_size
    else:
        names, size = _parquet_header(path, span)
    if len(names) > LIMITS["file-columns"]:
        fail(f"{path} has more columns than the limit file-columns ({LIMITS['file-columns']})", span)
    header: dict[str, str] = {}
    for name in names:
        if name.strip() in header:
            fail(f"{path}: two columns are called {name.strip()[:60]!r}", span, "rename one of them in the file")
        header[name.strip()] = name
    return TableFile(path, header, size, data.kind, delimiter, tuple(named), span)


def _csv_header(path: Path, delimiter: str, span: Span | None) -> list[str]:
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            fail(f"{path} is written in UTF-16", span, "save it as UTF-8")
        if start == b"PAR1":
            fail(f"{path} is a Parquet file", span, f"write {{parquet: {path.name}, ...}}")
        with path.open(encoding="utf-8-sig", newline="") as text:
            first = next(csv.reader(text, delimiter=delimiter), None)
    except UnicodeDecodeError:
        fail(*_not_utf8(path, span))
    except csv.Error as error:
        fail(f"{path}: the first line cannot be read as a header: {error}", span)
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}", span)
    if not first or not any(name.strip() for name in first):
        fail(f"{path} has no header: the first line names the columns", span)
    return first or []


def _not_utf8(path: Path, span: Span | None) -> tuple[str, Span | None, str]:
    place = str(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                place = f"{path}, line {number}"
                break
    return f"{place}: the text is not UTF-8", span, f"for example: iconv -f latin1 -t utf-8 {path.name} > new.csv"


def _parquet_header(path: Path, span: Span | None) -> tuple[list[str], int]:
    from pyarrow import parquet

    with _damage(path, span), parquet.ParquetFile(path) as file:
        facts = file.metadata
        sizes = (facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
        return list(file.schema_arrow.names), max(8 * facts.num_rows * facts.num_columns, sum(sizes))
    raise AssertionError("unreachable")


@contextmanager
def _damage(path: Path, span: Span | None) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        fail(f"cannot read {path} as a Parquet file: {str(error).splitlines()[0][:200]}", span)
