"""What a rule is and what it finds, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbuild.errors import Span

if TYPE_CHECKING:
    from kbuild.lint.view import View

#: Levels, mildest first.
LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of the spec's text that is safe.

    Attributes:
        action: a key of `kbuild.lint.fix.ACTIONS`.
        line, column: of the node in the spec that the action is about.
        key: the argument or value it is about, where the action needs one.
        what: the change in words.
        keeps: what the change leaves as it is: "function" (outputs in training and at inference, and what can be
            learned) or "predictions" (outputs at inference).
    """

    action: str
    line: int
    column: int
    key: str
    what: str
    keeps: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule's check reports.

    Attributes:
        message: what is wrong, with names and numbers.
        layers: the layers it is about, the culprit first; none for a finding about the training settings.
        hint: what to do.
        span: its place where that is not the culprit's, for example a setting under `train`.
        fix: a safe change, or None.
    """

    message: str
    layers: tuple[str, ...] = ()
    hint: str = ""
    span: Span | None = None
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, complete: `--explain`, the docs, the schema and the tests are made from it.

    Attributes:
        id: what `--select` and `# kbuild: ignore[...]` name.
        level: info, warning or error.
        says: one sentence.
        why: the explanation, with numbers.
        source: who says so.
        bad, good: a spec with the mistake, and one without.
        check: the findings in a plan.
        fix: what `--fix` does, or "" where nothing is safe.
    """

    id: str
    level: str
    says: str
    why: str
    source: str
    bad: str
    good: str
    check: Callable[[View], Iterable[Found]]
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a rule, with its place.

    Attributes:
        rule: the rule's id.
        level: info, warning or error.
        message: what is wrong.
        layer: the culprit's name, or None.
        layers: all layers it is about.
        span: its place in the spec; None for a saved model.
        hint: what to do.
        fix: a safe change, or None.
    """

    rule: str
    level: str
    message: str
    layer: str | None = None
    layers: tuple[str, ...] = ()
    span: Span | None = None
    hint: str = ""
    fix: Fix | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data; `file` is None for a saved model, whose path the caller knows."""
        return {
            "rule": self.rule,
            "level": self.level,
            "message": self.message,
            "layer": self.layer,
            "layers": list(self.layers),
            "file": self.span.source.name if self.span else None,
            "line": self.span.line if self.span else None,
            "column": self.span.column if self.span else None,
            "hint": self.hint,
            "fix": {"does": self.fix.what, "keeps": self.fix.keeps} if self.fix else None,
        }


def at_least(level: str, threshold: str) -> bool:
    """Whether a level reaches a threshold.

    >>> at_least("warning", "info"), at_least("info", "warning")
    (True, False)
    """
    return LEVELS.index(level) >= LEVELS.index(threshold)
