"""`kbuild explain`, and how messages lead to it."""

from __future__ import annotations

import io
import json

import pytest

from kbuild.cli.explain import linked
from kbuild.errors import CODES
from kbuild.lint.rules import RULES
from kbuild.policy import POLICIES

from .test_cli_errors import inside

BAD = "input: {shape: [4]}\nlayers:\n  - Dens: 8\n  - Dense: {units: 3, activaton: relu}\n  - Dens: 3\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", [*CODES, *(rule.id for rule in RULES), *(policy.name for policy in POLICIES)])
def test_everything_with_a_name_is_explained(name):
    code, out, err = inside("explain", name)
    assert (code, err) == (0, "")
    assert out.startswith(name)
    assert len(out.splitlines()) > 2


def test_several_names_at_once_and_one_that_two_things_have():
    out = inside("explain", "shape", "loss-activation-mismatch")[1]
    assert out.startswith("shape (error)")
    assert out.count("\nloss-activation-mismatch (error)") == 2


def test_without_a_name_all_are_listed():
    out = inside("explain")[1]
    for name in (*CODES, *(rule.id for rule in RULES), *(policy.name for policy in POLICIES)):
        assert f"  {name} " in out


def test_a_slip_of_the_pen_is_put_right():
    code, out, err = inside("explain", "unknown-layr")
    assert (code, out) == (2, "")
    assert "did you mean 'unknown-layer'?" in err


def test_a_report_ends_with_the_command_that_explains_it(tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD)
    err = inside("summarize", str(tmp_path / "bad.yaml"))[2]
    assert err.splitlines()[-1] == "more: kbuild explain unknown-layer unknown-argument"


def test_so_do_the_findings_of_the_lint(tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "after.yaml").write_text(
        "input: {shape: [8]}\nordering: W-A-D-N\nlayers: [{Dense: [9, relu]}, {Dense: 3}]"
    )
    _, out, err = inside("lint", str(tmp_path / "bad.yaml"), str(tmp_path / "after.yaml"), "--level", "warning")
    assert "warning[dropout-before-norm]" in out
    assert err.splitlines()[-1] == "more: kbuild explain unknown-layer unknown-argument dropout-before-norm"


def test_nothing_found_leads_nowhere(tmp_path):
    (tmp_path / "good.yaml").write_text("input: {shape: [8]}\nlayers: [{Dense: 3}]")
    assert inside("lint", str(tmp_path / "good.yaml"))[2] == ""


def test_json_names_the_page(tmp_path):
    (tmp_path / "after.yaml").write_text(
        "input: {shape: [8]}\nordering: W-A-D-N\nlayers: [{Dense: [9, relu]}, {Dense: 3}]"
    )
    out = inside("lint", str(tmp_path / "after.yaml"), "--format", "json")[1]
    assert "docs/lint/dropout-before-norm.md" in {finding["docs"] for finding in json.loads(out)["findings"]}


def test_codes_are_hyperlinks_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    report = (
        "a.yaml:3:5: error[unknown-layer]: there is no layer class 'Dens'\n"
        "  3 |   - Dens: error[shape]: 8\n"
        "a.yaml:4:5: warning[dropout-before-norm]: x\n"
        "error[loss-activation-mismatch]: y\n"
        "error[no-such-code]: z"
    )
    shown = linked(report, Terminal())
    assert "docs/errors/unknown-layer.md\x1b\\unknown-layer\x1b]8;;\x1b\\]: there is" in shown
    assert "docs/lint/dropout-before-norm.md\x1b\\" in shown
    assert "docs/errors/loss-activation-mismatch.md\x1b\\" in shown
    assert shown.splitlines()[1] == report.splitlines()[1]
    assert shown.endswith("error[no-such-code]: z")


@pytest.mark.parametrize(("key", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_and_plain_text_where_that_is_asked_for(monkeypatch, key, value):
    monkeypatch.setenv(key, value)
    assert linked("error[shape]: x", Terminal()) == "error[shape]: x"


def test_and_plain_text_in_a_pipe():
    assert linked("error[shape]: x", io.StringIO()) == "error[shape]: x"
