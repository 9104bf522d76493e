"""`# kbuild: ignore[rule]` in a spec: on the line of a layer or of the ordering, or on the line above.

On the lines of `ordering` it holds for every layer that a policy placed; on a layer's for that layer and what stands
around it; on a setting's under `train` for findings about that setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import yaml

from kbuild.errors import Source, Span, suggest
from kbuild.lint.finding import Found, Rule
from kbuild.lint.view import View

_COMMENT = re.compile(r"#[^#\n]*?\bkbuild:\s*ignore\b(?:\[(?P<rules>[^\]\n]*)\])?")
_ORDERING = re.compile(r"""['"]?ordering['"]?\s*:""")


@dataclass(slots=True)
class Ignore:
    """One rule of one comment; `lines` are those it holds for, `used` whether a finding was suppressed by it."""

    rule: str
    span: Span
    lines: tuple[int, ...]
    used: bool = False


def read_ignores(text: Source) -> list[Ignore]:
    """The suppressions of a spec: for a comment's own line and, where it stands alone, for the next with content."""
    if "kbuild:" not in text.text:
        return []
    found: list[Ignore] = []
    scalars: list[tuple[tuple[int, int], tuple[int, int]]] | None = None
    for number, line in enumerate(text.lines, 1):
        match = _COMMENT.search(line) if "kbuild:" in line else None
        if match is None:
            continue
        scalars = list(_scalars(text.text)) if scalars is None else scalars
        at = (number - 1, match.start())
        if not any(start <= at < end for start, end in scalars):
            found.extend(_of_comment(text, number, match))
    return found


def _scalars(text: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where scalars stand, as (line, column) from 0: what looks like a comment in a string is none."""
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken):
            start, end = token.start_mark, token.end_mark
            yield (start.line, start.column), (end.line, end.column)


def _of_comment(text: Source, number: int, match: re.Match[str]) -> Iterator[Ignore]:
    lines: tuple[int, ...] = (number,)
    if not text.line(number)[: match.start()].strip():
        lines = (number, _next_line(text.lines, number))
    for name in (match["rules"] or "").split(","):
        yield Ignore(name.strip(), Span(text, number, match.start() + 1, match.end() - match.start()), lines)


def _next_line(lines: Sequence[str], number: int) -> int:
    """The number of the first line behind line `number` that holds more than a comment."""
    rest = range(number + 1, len(lines) + 1)
    return next((at for at in rest if lines[at - 1].strip() and lines[at - 1].lstrip()[0] != "#"), number)


def ordering_lines(text: Source) -> frozenset[int]:
    """The lines of the spec's `ordering`, all of them where it is a mapping."""
    lines = text.lines
    start = next((number for number, line in enumerate(lines) if _ORDERING.match(line)), None)
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
