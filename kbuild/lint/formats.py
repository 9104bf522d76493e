"""Findings → text, JSON, SARIF, and the annotations of GitHub's workflow log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, Problem, SpecError, plural, render
from kbuild.lint.finding import LEVELS, Finding
from kbuild.lint.rules import BY_ID, every, rule

#: A saved model has no lines to look at: of each rule the text shows this many findings, and counts the rest.
MOST_OF_A_MODEL = 5


@dataclass(frozen=True)
class Linted:
    """One file of a call.

    Attributes:
        path: as the user named it.
        findings: what is to be shown.
        suppressed: how many findings the spec's comments hide.
        error: why it could not be read, or None.
    """

    path: Path
    findings: tuple[Finding, ...] = ()
    suppressed: int = 0
    error: InputError | None = None


def as_text(files: Sequence[Linted]) -> str:
    """The findings the way compilers print them, then one line that counts them."""
    lines: list[str] = []
    for file in files:
        shown: Counter[str] = Counter()
        for finding in file.findings:
            shown[finding.rule] += 1
            if finding.span is not None or shown[finding.rule] <= MOST_OF_A_MODEL:
                lines.append(_one(file, finding))
        for id_, count in shown.items():
            if count > MOST_OF_A_MODEL and any(one.span is None and one.rule == id_ for one in file.findings):
                more = count - MOST_OF_A_MODEL
                lines.append(f"{file.path}: ... and {more} more of {id_}; --format json lists them all")
    return "\n".join([*lines, _count(files)])


def _one(file: Linted, finding: Finding) -> str:
    problem = Problem(finding.rule, finding.message, finding.span, finding.hint)
    text = render(problem, finding.level)
    return text if finding.span is not None else f"{file.path}: {text}"


def _count(files: Sequence[Linted]) -> str:
    levels = Counter(finding.level for file in files for finding in file.findings)
    found = ", ".join(
        f"{levels[level]} info" if level == "info" else plural(levels[level], level)
        for level in reversed(LEVELS)
        if levels[level]
    )
    parts = [f"{plural(len(files), 'file')}: {found or 'no findings'}"]
    hidden = sum(file.suppressed for file in files)
    broken = sum(file.error is not None for file in files)
    fixable = sum(finding.fix is not None for file in files for finding in file.findings)
    parts += [f"{hidden} suppressed"] if hidden else []
    parts += [f"{broken} unreadable"] if broken else []
    parts += [f"{fixable} can be mended with --fix"] if fixable else []
    return "; ".join(parts)


def as_json(files: Sequence[Linted]) -> str:
    """One document: `findings` of all files, `unreadable` files with their report, and `summary`."""
    findings = [
        {**finding.to_dict(), "path": str(file.path), "file": _file(file, finding), "docs": _page(finding.rule)}
        for file in files
        for finding in file.findings
    ]
    levels = Counter(finding["level"] for finding in findings)
    return json.dumps(
        {
            "version": 1,
            "findings": findings,
            "unreadable": [{"path": str(file.path), "report": str(file.error)} for file in files if file.error],
            "summary": {
                "files": len(files),
                **{level: levels[level] for level in LEVELS},
                "suppressed": sum(file.suppressed for file in files),
            },
        },
        indent=1,
    )


def _page(name: str) -> str | None:
    """The rule's page in kbuild's repository; a rule of a package has none there."""
    return f"docs/lint/{name}.md" if name in BY_ID else None


def _file(file: Linted, finding: Finding) -> str:
    return finding.span.source.name if finding.span is not None else str(file.path)


def as_sarif(files: Sequence[Linted], version: str) -> str:
    """SARIF 2.1.0, which GitHub code scanning and editors read."""
    results = [_result(file, finding) for file in files for finding in file.findings]
    broken = [_notification(file) for file in files if file.error is not None]
    driver = {
        "name": "kbuild",
        "version": version,
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.says},
                "fullDescription": {"text": " ".join(rule.why.split())},
                "help": {"text": f"{' '.join(rule.why.split())}\n\nSource: {rule.source}"},
                "defaultConfiguration": {"level": _sarif_level(rule.level)},
            }
            for rule in every()
        ],
    }
    run: dict[str, Any] = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    run["invocations"] = [{"executionSuccessful": not broken, "toolExecutionNotifications": broken}]
    return json.dumps(
        {"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "runs": [run]}, indent=1
    )


def _sarif_level(level: str) -> str:
    return "note" if level == "info" else level


def _result(file: Linted, finding: Finding) -> dict[str, Any]:
    text = finding.message + (f" ({finding.hint})" if finding.hint else "")
    place: dict[str, Any] = {"artifactLocation": {"uri": Path(_file(file, finding)).as_posix()}}
    span = finding.span
    if span is not None:
        place["region"] = {
            "startLine": span.line,
            "startColumn": span.column,
            "endColumn": span.column + span.length,
        }
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.layer is not None:
        location["logicalLocations"] = [{"name": name, "kind": "object"} for name in finding.layers]
    index = next(number for number, rule in enumerate(every()) if rule.id == finding.rule)
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _sarif_level(finding.level),
        "message": {"text": text},
        "locations": [location],
    }


def _notification(file: Linted) -> dict[str, Any]:
    location = {"physicalLocation": {"artifactLocation": {"uri": file.path.as_posix()}}}
    return {"level": "error", "message": {"text": str(file.error)}, "locations": [location]}


def as_github(files: Sequence[Linted]) -> str:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    lines = []
    for file in files:
        for finding in file.findings:
            command = "notice" if finding.level == "info" else finding.level
            where = {"file": _file(file, finding)}
            if finding.span is not None:
                where |= {"line": str(finding.span.line), "col": str(finding.span.column)}
                where["endColumn"] = str(finding.span.column + finding.span.length)
            text = finding.message + (f"\n{finding.hint}" if finding.hint else "")
            lines.append(_command(command, {**where, "title": f"kbuild {finding.rule}"}, text))
        lines += _unreadable(file)
    return "\n".join(lines)


def _unreadable(file: Linted) -> Iterable[str]:
    if isinstance(file.error, SpecError):
        for problem in file.error.problems:
            where = {"file": str(file.path)}
            if problem.span is not None:
                where |= {"line": str(problem.span.line), "col": str(problem.span.column)}
            yield _command("error", {**where, "title": f"kbuild {problem.code}"}, problem.message)
    elif file.error is not None:
        yield _command("error", {"file": str(file.path)}, str(file.error))


def _command(name: str, properties: dict[str, str], text: str) -> str:
    listed = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::{name} {listed}::{_escaped(text)}"


def _escaped(text: str, also: str = "") -> str:
    for sign in "%\r\n" + also:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def explain(name: str) -> str:
    """One rule in full."""
    one = rule(name)
    lines = [f"{one.id} ({one.level}): {one.says}", "", one.why.strip(), "", f"source: {one.source}"]
    lines += [f"--fix: {one.fix}"] if one.fix else []
    for title, text in (("found in:", one.bad), ("not in:", one.good)):
        lines += ["", title, *(f"  {line}" for line in text.strip().splitlines())]
    return "\n".join(lines)


def explain_all() -> str:
    """Every rule in one line, those of installed packages too."""
    rules = every()
    width = max(len(rule.id) for rule in rules)
    return "\n".join(f"{rule.id:<{width}}  {rule.level:<7}  {rule.says}" for rule in rules)
