"""Plan → findings: every rule, grouped, with places, without what the spec suppresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kbuild import plugins
from kbuild.errors import Source, Span
from kbuild.lint import suppress
from kbuild.lint.finding import LEVELS, Finding, Fix, Found, Rule
from kbuild.lint.fix import Document
from kbuild.lint.rules import BY_ID, GROUP, every, package_of
from kbuild.lint.training import training_of
from kbuild.lint.view import View
from kbuild.plan.plan import Place, Plan
from kbuild.spec.train import TrainSettings


@dataclass(frozen=True)
class Report:
    """What the rules found in one plan.

    Attributes:
        findings: in the order of their places.
        suppressed: findings that the spec's comments hide.
    """

    findings: tuple[Finding, ...] = ()
    suppressed: tuple[Finding, ...] = ()


def lint(
    plan: Plan,
    train: TrainSettings | None = None,
    text: Source | None = None,
    rules: Sequence[Rule] | None = None,
    folder: Path | None = None,
    included: Sequence[Source] = (),
) -> tuple[Finding, ...]:
    """The findings in a plan.

    Args:
        plan: of a spec, a run or an imported model.
        train: the spec's training settings; rules about batch size, steps, loss and optimizer need them.
        text: the spec's text, for carets, suppressions and fixes.
        rules: which to run; all, those of installed packages too, where it is None.
        folder: what paths in `train` are relative to.
        included: texts of files that the spec includes.

    >>> from kbuild.plan.pipeline import plan_spec
    >>> from kbuild.spec.load import parse_spec
    >>> plan = plan_spec(parse_spec(BY_ID["dropout-before-norm"].bad))
    >>> [(found.rule, found.layer) for found in lint(plan) if found.level == "warning"]
    [('dropout-before-norm', 'dense1_drop')]
    """
    return report(plan, train, text, rules, folder, included).findings


def report(
    plan: Plan,
    train: TrainSettings | None = None,
    text: Source | None = None,
    rules: Sequence[Rule] | None = None,
    folder: Path | None = None,
    included: Sequence[Source] = (),
) -> Report:
    """`lint`, with what was suppressed."""
    view = View(plan, training_of(train, folder) if train is not None else None)
    places = _Places(view, text, included)
    found: list[Finding] = []
    hidden: list[Finding] = []
    rules = every() if rules is None else rules
    for rule in rules:
        for finding in _findings(rule, view, places):
            (hidden if places.suppressed(finding) else found).append(finding)
    if suppress.UNUSED_IGNORE in rules:
        ran, known = {rule.id for rule in rules}, (*BY_ID, *(plugins.names(GROUP) if places.ignores else ()))
        found += [places.finding(suppress.UNUSED_IGNORE, one) for one in suppress.unused(places.ignores, ran, known)]
    return Report(tuple(_ordered(_grouped(found))), tuple(_ordered(_grouped(hidden))))


def _findings(rule: Rule, view: View, places: _Places) -> list[Finding]:
    """What a rule finds; that the rule of a package failed is a finding too, never the end of the others."""
    try:
        return [places.finding(rule, one) for one in rule.check(view)]
    except Exception as error:
        package = package_of(rule)
        if not package:
            raise
        message = f"the rule failed: {plugins.said(error)}"
        return [Finding(rule.id, "error", message, hint=f"a fault of the package {package}")]


#: Why `--fix` leaves a finding that it could mend in the spec itself.
_INCLUDED = "--fix leaves included files as they are: other specs may read them"


class _Places:
    """Where the layers of a plan stand in the texts of its spec, and what those texts suppress."""

    def __init__(self, view: View, text: Source | None, included: Sequence[Source]):
        self.view = view
        self.text = text
        self.document: Document | None = None
        self.texts = {source.name: source for source in included}
        if text is not None:
            # A run's plan names the spec as it was called then; the run has its own copy.
            named = next((layer.source.file for layer in view.plan.layers if layer.source is not None), text.name)
            self.texts |= {named: text, text.name: text}
        self.ignores = [one for source in (text, *included) if source for one in suppress.read_ignores(source)]
        self.ordering = suppress.ordering_lines(text) if self.ignores and text is not None else frozenset()

    def finding(self, rule: Rule, found: Found) -> Finding:
        """A check's result with its place; a fix only where its text is at hand and can be changed so."""
        layer = found.layers[0] if found.layers else None
        span = found.span
        if span is None and layer is not None:
            place = self.view.layers[layer].source
            span = self._span(place) if place is not None else None
        fix = found.fix if found.fix is not None and span is not None and self._can(found.fix, span) else None
        hint = found.hint
        if found.fix is not None and span is not None and span.source.included:
            hint = "; ".join([*([hint] if hint else []), _INCLUDED])
        return Finding(rule.id, rule.level, found.message, layer, found.layers, span, hint, fix)

    def _can(self, fix: Fix, span: Span) -> bool:
        """Whether a fix can be made: its place is in the spec's own text, written in a way that it can change."""
        if self.text is None or span.source.name != self.text.name:
            return False
        if self.document is None:
            self.document = Document(self.text.text)
        return self.document.edit(fix) is not None

    def _span(self, place: Place) -> Span:
        text = self.texts.get(place.file)
        if text is None:
            return Span(Source(place.file, ""), place.line, place.column)
        word = _WORD.match(text.line(place.line), place.column - 1)
        return Span(text, place.line, place.column, len(word[0]) if word else 1)

    def suppressed(self, finding: Finding) -> bool:
        """Whether a comment hides the finding; the comment is used then."""
        if not self.ignores:
            return False
        by = suppress.suppressing(self.ignores, finding.rule, self._lines(finding))
        for ignore in by:
            ignore.used = True
        return bool(by)

    def _lines(self, finding: Finding) -> set[tuple[str, int]]:
        """Where a suppression of this finding may stand."""
        lines = {(finding.span.source.name, finding.span.line)} if finding.span else set()
        for name in finding.layers:
            layer = self.view.layers[name]
            if layer.source is not None:
                text = self.texts.get(layer.source.file)
                lines.add((text.name if text else layer.source.file, layer.source.line))
            if layer.unit is not None and self.text is not None:
                lines |= {(self.text.name, line) for line in self.ordering}
        return lines


_WORD = re.compile(r"[\w.]+")


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for all rounds of a repeat and all uses of a block: same rule, same place."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for number, one in enumerate(findings):
        place = (one.span.source.name, one.span.line, one.span.column) if one.span else (number,)
        about = one.layer if one.rule in _ONE_EACH else ""
        groups.setdefault((one.rule, about, *place), []).append(one)
    return [_group(group) for group in groups.values()]


#: Rules with findings about settings, several of which may stand at one place.
_ONE_EACH = frozenset({"unused-ignore", "loss-activation-mismatch"})


def _group(group: list[Finding]) -> Finding:
    first = group[0]
    if len(group) == 1 or first.rule in _ONE_EACH:
        return first
    others = [one.layer for one in group[1:] if one.layer]
    names = ", ".join(others[:2]) + (", ..." if len(others) > 2 else "")
    message = f"{first.message} (and {len(others)} more from this line: {names})"
    layers = dict.fromkeys(name for one in group for name in one.layers)
    return replace(first, message=message, layers=tuple(layers))


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    def key(finding: Finding) -> tuple[bool, str, int, int, int]:
        span, level = finding.span, -LEVELS.index(finding.level)
        return (False, span.source.name, span.line, span.column, level) if span else (True, "", 0, 0, level)

    return sorted(findings, key=key)
