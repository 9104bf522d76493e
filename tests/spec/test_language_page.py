"""docs/spec-language.md names every key of the language."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbuild.spec.items import BESIDE, STRUCTURES
from kbuild.spec.parse import TOP_KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "spec-language.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [*TOP_KEYS, *BESIDE, "shortcut", "merge", "shortcut_first", "index", "times", "params"])
def test_every_key_is_named(key: str) -> None:
    assert f"`{key}`" in PAGE or f"{key}: " in PAGE


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_has_an_example(structure: str) -> None:
    assert f"{structure}:" in "".join(PAGE.split("```yaml\n")[1:])
