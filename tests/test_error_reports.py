"""Broken specs and what a user reads: `data/errors/NNN-slug.yaml` beside its exact report, `NNN-slug.txt`.

After a message has changed on purpose, `python tests/test_error_reports.py` writes the reports anew; read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kbuild.errors import CODES, SpecError
from kbuild.plan.pipeline import compile_spec

FOLDER = Path(__file__).parent / "data" / "errors"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

#: Codes that no spec alone can raise, and why.
ELSEWHERE = {
    "override": "an option cannot be applied: tests/spec/test_overrides.py",
    "data": "the arrays do not fit the model: tests/train",
    "plugin": "an installed package is broken: tests/test_broken_plugins.py",
    "loss-activation-mismatch": "raised when the model is compiled for training: tests/train",
}

PLACE = re.compile(r"[^:\n]+\.yaml:\d+:\d+: error\[([a-z-]+)\]: \S")


def report_of(case: str) -> str:
    """The report, with the file named as if the command ran in its folder."""
    before = Path.cwd()
    os.chdir(FOLDER)
    try:
        with pytest.raises(SpecError) as caught:
            compile_spec(f"{case}.yaml")
    finally:
        os.chdir(before)
    return f"{caught.value}\n"


def expected(case: str) -> str:
    return (FOLDER / f"{case}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_report(case: str) -> None:
    assert report_of(case) == expected(case)


def test_every_code_has_a_case() -> None:
    shown = {code for case in CASES for code in PLACE.findall(expected(case))}
    assert shown | set(ELSEWHERE) == set(CODES)
    assert not shown & set(ELSEWHERE)


def test_there_are_enough_cases_and_no_report_without_one() -> None:
    assert len(CASES) >= 80
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CASES)
    assert len({case[:3] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES)
def test_every_problem_has_its_place_its_line_and_a_caret(case: str) -> None:
    problems = re.split(r"(?m)^(?=\S)", expected(case))
    for problem in filter(None, problems):
        if problem.startswith("... ") or "the file is empty" in problem:
            continue
        head, line, caret, *rest = problem.splitlines()
        assert PLACE.match(head) or head.endswith(": used here")
        number = head.split(":")[1]
        assert re.match(rf" *{number} \| ", line), line
        assert re.match(r" +\| +\^", caret), caret
        assert not rest


@pytest.mark.parametrize("case", CASES)
def test_problems_stand_in_the_order_of_their_places(case: str) -> None:
    places = re.findall(r"(?m)^\S+\.yaml:(\d+):(\d+): error", expected(case))
    assert places == sorted(places, key=lambda place: (int(place[0]), int(place[1])))


@pytest.mark.parametrize("case", CASES)
def test_no_line_runs_away(case: str) -> None:
    assert max(map(len, expected(case).splitlines())) <= 360


def test_a_caret_stands_under_its_text_whatever_stands_before_it() -> None:
    wide = next(line for line in expected("122-non-ascii-before-caret").splitlines() if "nmae'" in line)
    lines = expected("122-non-ascii-before-caret").splitlines()
    text, caret = lines[lines.index(wide) + 1 : lines.index(wide) + 3]
    # Four wide characters stand before it, each two columns on a terminal.
    assert caret.index("^") == text.index("nmae") + 4


if __name__ == "__main__":
    for name in CASES:
        (FOLDER / f"{name}.txt").write_text(report_of(name), encoding="utf-8")
