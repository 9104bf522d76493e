"""A spec's file → Spec, with the overrides of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kbuild.errors import Problem, SpecError
from kbuild.spec.include import inline_includes
from kbuild.spec.model import Spec
from kbuild.spec.overrides import apply_overrides
from kbuild.spec.parse import parse
from kbuild.spec.reader import Node, read_file, read_text


def read_spec(path: str | Path, ordering: str | None, overrides: Iterable[str], problems: list[Problem]) -> Spec | None:
    """Read a spec and collect its problems instead of raising them, so that later stages can add theirs.

    Raises:
        SpecError: the file cannot be read or is not YAML; nothing more can be said about it.
    """
    _, tree = read_file(path)
    return parse(_complete(tree, Path(path).parent, ordering, overrides, problems), Path(path), problems)


def _complete(
    tree: Node, folder: Path, ordering: str | None, overrides: Iterable[str], problems: list[Problem]
) -> Node:
    """The tree with included blocks and overrides in it; overrides may change included blocks, or include more."""
    tree = inline_includes(tree, folder, problems)
    return inline_includes(apply_overrides(tree, ordering, overrides, problems), folder, problems)


def load_spec(path: str | Path, ordering: str | None = None, overrides: Iterable[str] = ()) -> Spec:
    """Read a spec.

    Args:
        path: the YAML file.
        ordering: a policy's name or an order that replaces the spec's own; everything else stays.
        overrides: `a.b=c` texts, as `--set` takes them.

    Raises:
        SpecError: every problem of the file's structure at once.
    """
    problems: list[Problem] = []
    spec = read_spec(path, ordering, overrides, problems)
    if problems or spec is None:
        raise SpecError(problems)
    return spec


def parse_spec(text: str, ordering: str | None = None, overrides: Iterable[str] = (), name: str = "<text>") -> Spec:
    """Read a spec from text instead of a file; paths in it are relative to the working directory."""
    problems: list[Problem] = []
    tree = _complete(read_text(text, name), Path(), ordering, overrides, problems)
    spec = parse(tree, None, problems)
    if problems or spec is None:
        raise SpecError(problems)
    return spec
