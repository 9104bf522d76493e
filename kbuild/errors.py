"""Everything that can go wrong, as data.

::

    KbuildError                  exit code 1
    ├── InputError               exit code 2: usage, specs, data that do not fit
    │   └── SpecError            one or more Problems, each with its place in a file
    └── WorkError                exit code 1: the work itself failed
        ├── TrainingError        NaN loss, a full disk, ...
        ├── ParityError          an exported artifact predicts something else
        └── InternalError        a bug in kbuild (plan and model disagree, a pass failed)

A `Problem` says where, what, why and what to do; `report` renders all of them at once:

>>> source = Source("demo.yaml", "layers:\\n  - Conv2d: 3\\n")
>>> span = Span(source, 2, 5, 6)
>>> print(report([Problem("unknown-layer", "there is no layer class 'Conv2d'", span, "did you mean 'Conv2D'?")]))
demo.yaml:2:5: error[unknown-layer]: there is no layer class 'Conv2d'
  2 |   - Conv2d: 3
    |     ^^^^^^ did you mean 'Conv2D'?
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

#: Every code a Problem may carry, and what it means. The docs list this table.
CODES: dict[str, str] = {
    "file": "the file cannot be read: it is missing, a directory, not UTF-8, or empty",
    "limit": "the input exceeds a named limit that keeps a spec from exhausting memory",
    "yaml": "the text is not YAML",
    "yaml-tag": "a YAML tag outside the core schema; a spec is plain data",
    "duplicate-key": "the same key twice in one mapping",
    "unknown-key": "a key that means nothing here",
    "missing-key": "a key that is needed here",
    "wrong-type": "a value of the wrong type or outside its range",
    "version": "a format version this kbuild does not read",
    "unknown-layer": "no Keras layer class of that name",
    "forbidden-layer": "a layer class that runs code held in its config or reads files of its own",
    "plugin": "a layer, policy or data source that an installed package adds, and that cannot be used",
    "unknown-argument": "an argument the Keras class does not take",
    "unknown-name": "no Keras object (optimizer, loss, initializer, ...) of that name, or one that a spec cannot use",
    "unknown-policy": "neither a policy name nor an order",
    "bad-order": "an order is letters out of W, N, A, D and P, each at most once, with exactly one W",
    "unknown-reference": "`from` or `outputs` names a layer that is not there",
    "duplicate-name": "two layers of the same name",
    "bad-name": "a name Keras does not accept",
    "expression": "arithmetic after '=' that cannot be evaluated",
    "recursion": "a block that uses itself",
    "missing-head": "an output that no weight layer leads to",
    "unused-layer": "a layer that no output depends on",
    "shape": "a layer does not fit the shape of its input",
    "inputs": "a layer reads the wrong number of inputs",
    "override": "a --set or --ordering that cannot be applied",
    "data": "data that cannot be read or do not fit the model",
    "loss-activation-mismatch": "the loss contradicts the activation of the head",
    "not-yet": "part of the spec language that this version does not compile",
}


#: What ends a line for PyYAML, which counts the lines.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Source:
    """A named text. `name` is what messages show: a path, or the option the text came from.

    `included` files are not the spec itself: what tells of a line in one tells of the file too.
    """

    name: str
    text: str = field(repr=False)
    included: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, without what ends them."""
        return _lines(self.text)

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; empty past the end."""
        lines = self.lines
        return lines[number - 1] if 0 < number <= len(lines) else ""


@lru_cache(maxsize=8)
def _lines(text: str) -> tuple[str, ...]:
    """A report asks for the lines of one text again and again."""
    return tuple(_BREAK.split(text))


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source. `line` and `column` count from 1; `length` is at least 1."""

    source: Source
    line: int
    column: int
    length: int = 1

    @property
    def place(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `code` is a key of CODES, `trail` leads from a block to the places of its use."""

    code: str
    message: str
    span: Span | None = None
    hint: str = ""
    trail: tuple[Span, ...] = ()


class KbuildError(Exception):
    """Base of all errors kbuild raises on purpose."""

    exit_code = 1


class InputError(KbuildError):
    """The input was wrong: usage, a spec, a data file."""

    exit_code = 2


class SpecError(InputError):
    """All problems found in a spec.

    Attributes:
        problems: the `Problem`s, in the order of their places.
    """

    def __init__(self, problems: Iterable[Problem]):
        self.problems: tuple[Problem, ...] = tuple(_ordered(problems))
        super().__init__(report(self.problems))


class WorkError(KbuildError):
    """The input was fine; the work failed."""


class TrainingError(WorkError):
    """Training stopped: NaN loss, a full disk, out of memory."""


class ParityError(WorkError):
    """An exported artifact does not predict what the model predicts."""


class InternalError(WorkError):
    """A bug in kbuild, never the user's fault."""


def _ordered(problems: Iterable[Problem]) -> list[Problem]:
    def place(problem: Problem) -> tuple[bool, str, int, int]:
        span = problem.span
        return (span is None, span.source.name, span.line, span.column) if span else (True, "", 0, 0)

    return sorted(_once(tuple(problems)), key=place)


#: Codes whose message holds a computed value: in every round of a repeat the same mistake reads otherwise.
_OF_VALUES = ("wrong-type", "expression", "shape")


def _once(problems: tuple[Problem, ...]) -> Iterable[Problem]:
    """Each mistake once: not again for every use of a block, every round of a repeat, or a value that has none."""
    broken = {(problem.span, problem.trail) for problem in problems if problem.code == "expression"}
    seen: set[object] = set()
    for problem in problems:
        place = (problem.span, problem.trail)
        if problem.code != "expression" and place in broken:
            continue
        keys: set[object] = {(problem.code, problem.message, problem.span)}
        if problem.code in _OF_VALUES and problem.span is not None:
            keys.add((problem.code, *place))
        if seen.isdisjoint(keys):
            yield problem
        seen |= keys


#: A report shows this many problems, and says how many more there are.
MOST_SHOWN = 100


def report(problems: Sequence[Problem]) -> str:
    """Render problems the way compilers do: place, code, message, the line and a caret."""
    lines = [render(problem) for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        lines.append(f"... and {len(problems) - MOST_SHOWN} more")
    return "\n".join(lines)


def render(problem: Problem, level: str = "error") -> str:
    """One problem as `report` shows it; `level` is the word in front of its code."""
    head = f"{level}[{problem.code}]: {problem.message}"
    if problem.span is None:
        return head + (f"\n  {problem.hint}" if problem.hint else "")
    lines = [f"{problem.span.place}: {head}", *_excerpt(problem.span, problem.hint)]
    for number, span in enumerate(problem.trail):
        left_out = len(problem.trail) - LONGEST_TRAIL
        if left_out > 0 and number == LONGEST_TRAIL - 1:
            lines.append(f"... {left_out} more, used in turn ...")
        if number < LONGEST_TRAIL - 1 or number == len(problem.trail) - 1:
            lines.append(f"{span.place}: used here")
            lines.extend(_excerpt(span, ""))
    return "\n".join(lines)


#: A line longer than this is cut around the caret, so that a report stays readable.
LONGEST_LINE = 160
#: Uses of blocks inside blocks that a report shows: the innermost ones, and the outermost.
LONGEST_TRAIL = 6
_CUT = "..."


def _excerpt(span: Span, hint: str) -> list[str]:
    line = span.source.line(span.line)
    if not line.strip():
        return [f"  {hint}"] if hint else []
    start = max(0, span.column - 1)
    shift = max(0, min(start - LONGEST_LINE // 2, len(line) - LONGEST_LINE))
    end = shift + LONGEST_LINE
    left, right = _CUT if shift else "", _CUT if end < len(line) else ""
    shown = left + _printable(line[shift:end]) + right
    before = len(left) + _width(_printable(line[shift:start]))
    under = max(1, min(span.length, len(line) - start, end - start))
    margin = f"{span.line:>3}"
    caret = " " * before + "^" * max(1, _width(_printable(line[start : start + under])))
    return [f"{margin} | {shown}", f"{' ' * len(margin)} | {caret} {hint}".rstrip()]


def _printable(text: str) -> str:
    return "".join(" " if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _width(text: str) -> int:
    """Columns a terminal needs for `text` (East Asian wide characters take two)."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a misspelled word most likely means.

    >>> nearest("layrs", ["name", "layers"])
    'layers'
    """
    by_lower = {choice.lower(): choice for choice in choices}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    near = difflib.get_close_matches(word[:80].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def suggest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest choice, or an empty string.

    >>> suggest("Conv2d", ["Conv2D", "Dense"])
    "did you mean 'Conv2D'?"
    """
    near = nearest(word, choices)
    return f"did you mean '{near}'?" if near else ""


def listing(names: Iterable[str], most: int = 12) -> str:
    """Names for a hint; where there are many, the first.

    >>> listing(["units", "activation", "use_bias"], most=2)
    'units, activation, ...'
    """
    names = list(names)
    return ", ".join(names[:most] + ["..."] * (len(names) > most))


def plural(count: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "epoch"), plural(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"
