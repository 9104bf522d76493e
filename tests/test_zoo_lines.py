"""The table of docs/zoo.md: lines of a spec against lines of the same model in keras.applications."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from tools import zoo_lines

SOURCE = '''\
"""A module."""
from keras.src.applications import other
from keras.src.applications import imagenet_utils


def unused():
    return 1


def block(x):
    """A block.

    Of two lines.
    """
    # A comment.

    return layer(
        x
    )


def Model():
    imagenet_utils.check()
    return other.tail(block(1))
'''


def test_what_is_counted(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SOURCE)
    (tmp_path / "other.py").write_text("def tail(x):\n    return x\n")
    (tmp_path / "imagenet_utils.py").write_text("def check():\n    pass\n")
    # Model 3, block 4, tail 2.
    assert zoo_lines.source_lines(tmp_path, "model", "Model") == 9


def test_the_page_is_current() -> None:
    text = zoo_lines.PAGE.read_text(encoding="utf-8")
    version = re.search(r"lines of Keras (\S+)", text)
    assert version is not None
    if version[1] == importlib.metadata.version("keras"):
        assert zoo_lines.table() in text, "run: python -m tools.zoo_lines"
    else:
        for name, parameters, ours, _, _ in zoo_lines.rows():
            assert f"| {name} | {parameters} | {ours} |" in text


def test_every_spec_is_well_under_120_lines_and_much_shorter_than_its_source() -> None:
    for name, _, ours, _, ratio in zoo_lines.rows():
        assert int(ours) <= 60, name
        assert int(ratio) >= 5, name
