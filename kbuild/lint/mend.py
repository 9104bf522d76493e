"""A spec → the same spec with every safe fix made, compiled again to prove it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from kbuild.errors import InputError, Problem, SpecError
from kbuild.files import rewrite
from kbuild.lint import fix
from kbuild.lint.check import report
from kbuild.lint.finding import Finding, Rule
from kbuild.lint.subject import Subject
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.include import inline_includes
from kbuild.spec.model import Spec
from kbuild.spec.parse import parse
from kbuild.spec.reader import read_text

#: A fix may uncover another; more rounds than this are a loop.
_ROUNDS = 10


def mended(subject: Subject, rules: Sequence[Rule]) -> str | None:
    """The spec's text with all safe fixes made; None for a run or a model, which have no text to mend.

    A fix after which the spec does not compile, or whose finding is still there, is not made.

    Raises:
        InputError: the spec was overridden on the command line, so what was found is not what the text says.
    """
    if subject.text is None or subject.path.is_dir():
        return None
    if subject.overridden:
        raise InputError("--fix and --diff mend what the text says; leave --ordering and --set out")
    text, folder = subject.text.text, subject.folder
    refused: set[Finding] = set()
    path = subject.path
    spec, plan = _compiled(text, path)
    for _ in range(_ROUNDS):
        found = report(plan, spec.train, spec.source, rules, folder).findings
        fixable = [one for one in found if one.fix is not None and one not in refused]
        if not fixable:
            break
        one = fixable[-1]  # from the end, so that the places of the others stay
        while fixable:
            one = fixable.pop()
            assert one.fix is not None
            new = fix.apply(text, [one.fix])
            after = _try(new, path) if new != text else None
            if after is None or not _gone(one, after, rules, folder):
                refused.add(one)
                continue
            text, (spec, plan) = new, after
            break
    return text


def _compiled(text: str, path: Path) -> tuple[Spec, Plan]:
    problems: list[Problem] = []
    spec = parse(inline_includes(read_text(text, str(path)), path.parent, problems), path, problems)
    if problems or spec is None:
        raise SpecError(problems)
    return spec, plan_spec(spec)


def _try(text: str, path: Path) -> tuple[Spec, Plan] | None:
    try:
        return _compiled(text, path)
    except InputError:
        return None


def _gone(finding: Finding, after: tuple[Spec, Plan], rules: Sequence[Rule], folder: Path | None) -> bool:
    spec, plan = after
    left = report(plan, spec.train, spec.source, [one for one in rules if one.id == finding.rule], folder).findings
    return all(one.message != finding.message or one.layers != finding.layers for one in left)


def unified(subject: Subject, new: str | None) -> str:
    """The change as a unified diff; "" where there is none."""
    if new is None or subject.text is None:
        return ""
    old, name = subject.text.text, subject.text.name
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}", n=3
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def write(subject: Subject, new: str | None) -> bool:
    """Write the mended text where it differs, to a temporary name first; say whether it did.

    Raises:
        InputError: the file cannot be written.
    """
    if new is None or subject.text is None or new == subject.text.text:
        return False
    try:
        mark = b"\xef\xbb\xbf" if subject.path.read_bytes().startswith(b"\xef\xbb\xbf") else b""
        rewrite(subject.path, mark + new.encode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot write {subject.path}: {error.strerror or error}") from error
    return True
