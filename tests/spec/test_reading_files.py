"""Files of specs: what cannot be read is said, with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kbuild.errors import SpecError
from kbuild.spec.reader import LIMITS, Mapping, plain, read_file


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 1\r\n")
    source, tree = read_file(path)
    assert plain(tree) == {"a": "é", "b": 1}
    assert source.name == str(path)
    assert isinstance(tree, Mapping)
    assert tree.entries[0][1].span.column == 4


def failing(path: Path | str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        read_file(path)
    assert caught.value.exit_code == 2
    assert caught.value.problems[0].span is not None
    return caught.value


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text(" \n\n")
    assert "there is no such file" in str(failing(tmp_path / "missing.yaml"))
    assert "is a directory; name the spec's file" in str(failing(tmp_path))
    assert "Not a directory" in str(failing(tmp_path / "empty.yaml" / "x.yaml"))
    assert "the file is empty" in str(failing(tmp_path / "empty.yaml"))
    assert "`kbuild init` writes a starter spec" in str(failing(tmp_path / "empty.yaml"))
    assert "not a file name" in str(failing("a\0b.yaml"))
    assert "too long" in str(failing("x" * 5000))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    assert "Permission denied" in str(failing(path))


def test_a_file_whose_reading_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in str(failing(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("raw", "message", "place"),
    [
        (b"a: 1\nb: \xff\n", "not UTF-8: byte 0xff at offset 8", (2, 4)),
        ("a: é".encode("latin-1"), "not UTF-8: byte 0xe9", (1, 4)),
        ("a: 1".encode("utf-16"), "not UTF-8: byte 0xff at offset 0", (1, 1)),
        (b"\x80\x81", "not UTF-8", (1, 1)),
        (b"a: \xed\xa0\x80", "not UTF-8", (1, 4)),
    ],
)
def test_other_encodings(raw: bytes, message: str, place: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(raw)
    (problem,) = failing(path).problems
    assert problem.code == "file"
    assert problem.message.startswith(message)
    assert problem.span is not None
    assert (problem.span.line, problem.span.column) == place


def test_a_file_larger_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as stream:
        stream.truncate(LIMITS["file-size"] + 1)
    assert "the limit file-size (4000000 bytes)" in str(failing(path))
