"""`# kbuild: ignore[rule]` in a spec: on the line of a layer or of the ordering, or on the line above.

On the lines of `ordering` it holds for every layer that a policy placed; on a layer's for that layer and what stands
around it; on a setting's under `train` for findings about that setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

from kbuild.errors import Source, Span, suggest
from kbuild.lint.finding import Found, Rule
from kbuild.lint.view import View

_COMMENT = re.compile(r"#[^\n]*?\bkbuild:\s*ignore\b(?:\[(?P<rules>[^\]\n]*)\])?")


@dataclass(slots=True)
class Ignore:
    """One rule of one comment; `lines` are those it holds for, `used` whether a finding was suppressed by it."""

    rule: str
    span: Span
    lines: tuple[int, ...]
    used: bool = False


def read_ignores(text: Source) -> list[Ignore]:
    """The suppressions of a spec: for a comment's own line and, where it stands alone, for the next with content."""
    found: list[Ignore] = []
    if "kbuild:" not in text.text or "ignore" not in text.text:
        return found
    scalars: list[tuple[int, int]] | None = None
    for match in _COMMENT.finditer(text.text):
        if scalars is None:
            scalars = list(_scalars(text.text))
        if any(start <= match.start() < end for start, end in scalars):
            continue
        found.extend(_of_comment(text, match))
    return found


def _scalars(text: str) -> Iterator[tuple[int, int]]:
    """Where scalars stand: what looks like a comment in a string is none."""
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken):
            yield token.start_mark.index, token.end_mark.index


def _of_comment(text: Source, match: re.Match[str]) -> Iterator[Ignore]:
    line = text.text.count("\n", 0, match.start()) + 1
    column = match.start() - (text.text.rfind("\n", 0, match.start()) + 1) + 1
    lines: tuple[int, ...] = (line,)
    if not text.line(line)[: column - 1].strip():
        lines = (line, _next_line(text, line))
    for name in (match["rules"] or "").split(","):
        yield Ignore(name.strip(), Span(text, line, column, match.end() - match.start()), lines)


def _next_line(text: Source, line: int) -> int:
    lines = text.text.split("\n")
    number = line + 1
    while number <= len(lines) and (not lines[number - 1].strip() or lines[number - 1].lstrip().startswith("#")):
        number += 1
    return number


def ordering_lines(text: Source) -> frozenset[int]:
    """The lines of the spec's `ordering`, all of them where it is a mapping."""
    lines = text.text.split("\n")
    start = next(
        (number for number, line in enumerate(lines) if re.match(r"(ordering|'ordering'|\"ordering\")\s*:", line)), None
    )
    if start is None:
        return frozenset()
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t#"):
        end += 1
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1][0] == "#"):
        end -= 1
    return frozenset(range(start + 1, end + 1))


def suppressing(ignores: Iterable[Ignore], rule: str, lines: set[tuple[str, int]]) -> list[Ignore]:
    """The suppressions of a rule that hold for any of the (file, line)s."""
    mine = (one for one in ignores if one.rule == rule)
    return [one for one in mine if any((one.span.source.name, line) in lines for line in one.lines)]


def unused(ignores: Iterable[Ignore], ran: set[str], known: Iterable[str]) -> Iterator[Found]:
    """What the rule `unused-ignore` finds; suppressions of rules that did not run are left alone."""
    known = list(known)
    for one in ignores:
        if not one.rule:
            yield Found("`kbuild: ignore` names no rule", (), "write # kbuild: ignore[rule]", one.span)
        elif one.rule not in known:
            yield Found(f"there is no rule {one.rule[:60]!r}", (), suggest(one.rule, known), one.span)
        elif not one.used and one.rule in ran:
            yield Found(f"nothing here is reported by {one.rule}: the suppression is unused", (), "remove it", one.span)


def _never(view: View) -> Iterator[Found]:
    """Found when all other rules have run, by `unused`."""
    return iter(())


UNUSED_IGNORE = Rule(
    "unused-ignore",
    "warning",
    "a suppression that suppresses nothing",
    """
`# kbuild: ignore[rule]` hides the findings of a rule on its line, or on the next line where it stands alone. When the
spec changes and the finding is gone, the comment would hide the next one. Reported too: rules that do not exist, and
a comment without a rule. Suppressions of rules that this run leaves out (`--select`, `--ignore`) are not judged.
""",
    "as in ruff (RUF100), pylint (useless-suppression) and mypy (unused-ignore)",
    """
input: {shape: [16]}
ordering: W-N-A-D  # kbuild: ignore[dropout-before-norm]
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: W-A-D-N  # kbuild: ignore[dropout-before-norm]
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    _never,
)
