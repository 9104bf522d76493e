"""`kbuild lint` as a user meets it: formats, levels, exit codes, fixing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from kbuild.cli.main import main
from kbuild.lint.rules import RULES
from kbuild.plan.pipeline import compile_spec
from kbuild.resources import spec_path

CASES = Path(__file__).parents[1] / "data" / "lint"
WARNING = str(CASES / "dropout-before-norm" / "bad-elu.yaml")
INFO = str(CASES / "high-dropout-with-norm" / "bad-half.yaml")
CLEAN = str(CASES / "selu-with-norm" / "good-policy.yaml")
MENDABLE = CASES / "double-activation" / "bad-relu-of-relu.yaml"


def lint(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(["lint", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([CLEAN], 0),
        ([INFO], 0),
        ([INFO, "--strict"], 1),
        ([INFO, "--strict", "--level", "error"], 1),
        ([WARNING], 1),
        ([WARNING, "--level", "error"], 1),
        ([WARNING, "--ignore", "dropout-before-norm"], 0),
        ([WARNING, "--ignore", "small-batch-norm,dropout-before-norm"], 0),
        ([WARNING, "--ignore", "small-batch-norm", "--ignore", "dropout-before-norm"], 0),
        ([WARNING, "--select", "bias-before-norm, selu-with-norm"], 0),
        ([WARNING, "--ordering", "W-N-A"], 0),
        ([WARNING, "--set", "ordering.dropout=0"], 0),
        ([CLEAN, WARNING], 1),
        ([CLEAN, "nowhere.yaml"], 2),
        ([WARNING, "nowhere.yaml"], 2),
        (["nowhere.keras"], 2),
        ([CLEAN, "--select", "no-such-rule"], 2),
        ([CLEAN, "--explain", "no-such-rule"], 2),
        (["--select", "bias-before-norm"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    assert lint(*arguments)[0] == code


def test_text_looks_like_a_compilers() -> None:
    _, out, err = lint(WARNING)
    assert out.startswith(
        f"{WARNING}:6:5: warning[dropout-before-norm]: dense1_drop (rate 0.2) feeds dense1_bn: with dropout off the "
        "variance that dense1_bn reads is Δ = 0.793 of the one it learned\n"
        "  6 |   - Dense: {units: 8, activation: elu}\n"
        "    |     ^^^^^ put D behind N, as in W-N-A-D\n"
    )
    assert out.endswith("1 file: 1 warning, 1 info\n")
    assert err.startswith("more: kbuild explain dropout-before-norm")


def test_a_clean_file_says_so() -> None:
    assert lint(CLEAN)[1] == "1 file: no findings\n"


def test_an_unreadable_file_does_not_hide_the_others() -> None:
    code, out, err = lint(WARNING, "nowhere.yaml")
    assert code == 2
    assert "warning[dropout-before-norm]" in out
    assert out.endswith("; 1 unreadable\n")
    assert "cannot read nowhere.yaml" in err


def test_infos_are_hidden_by_the_level() -> None:
    assert "info[" in lint(INFO)[1]
    assert "info[" not in lint(INFO, "--level", "warning")[1]


def test_json() -> None:
    code, out, _ = lint(WARNING, MENDABLE, "nowhere.yaml", "--format", "json")
    data = json.loads(out)
    assert code == 2
    first = next(one for one in data["findings"] if one["rule"] == "dropout-before-norm")
    assert {key: first[key] for key in ("level", "layer", "file", "path", "line", "column", "fix")} == {
        "level": "warning",
        "layer": "dense1_drop",
        "file": WARNING,
        "path": WARNING,
        "line": 6,
        "column": 5,
        "fix": None,
    }
    assert first["layers"] == ["dense1_drop", "dense1_bn"]
    mendable = next(one for one in data["findings"] if one["rule"] == "double-activation")
    assert mendable["fix"] == {"does": "remove the second relu", "keeps": "function"}
    assert [one["path"] for one in data["unreadable"]] == ["nowhere.yaml"]
    assert data["summary"]["files"] == 3
    assert data["summary"]["warning"] == 2


#: What GitHub's code scanning needs of SARIF 2.1.0.
SARIF = {
    "type": "object",
    "required": ["version", "$schema", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "results": {
                        "items": {
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
                            "properties": {
                                "level": {"enum": ["note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "locations": {"minItems": 1, "items": {"required": ["physicalLocation"]}},
                            },
                        }
                    }
                },
            },
        },
    },
}


def test_sarif() -> None:
    data = json.loads(lint(WARNING, "nowhere.yaml", "--format", "sarif")[1])
    jsonschema.validate(data, SARIF)
    (run,) = data["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.id for rule in RULES]
    result = next(one for one in run["results"] if one["ruleId"] == "dropout-before-norm")
    assert RULES[result["ruleIndex"]].id == "dropout-before-norm"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == WARNING
    assert place["region"] == {"startLine": 6, "startColumn": 5, "endColumn": 10}
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False


def test_github_annotations() -> None:
    lines = lint(WARNING, INFO, "nowhere.yaml", "--format", "github")[1].splitlines()
    assert lines[0].startswith(f"::warning file={WARNING},line=6,col=5,endColumn=10,title=kbuild dropout-before-norm::")
    assert "%0A" in lines[0]
    assert any(line.startswith("::notice ") for line in lines)
    assert lines[-1].startswith("::error file=nowhere.yaml")


def test_explain() -> None:
    out = lint("--explain", "dropout-before-norm")[1]
    assert out.startswith("dropout-before-norm (warning): ")
    for text in ("0.732", "arXiv:1801.05134", "found in:", "not in:", "W-A-D-N"):
        assert text in out
    assert [line.split()[0] for line in lint("--explain", "all")[1].splitlines()] == [rule.id for rule in RULES]


def test_fix_writes_and_diff_does_not(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    shutil.copy(MENDABLE, path)
    before = path.read_text()
    code, out, _ = lint(path, "--diff")
    assert (code, path.read_text()) == (1, before)
    assert "\n-  - ReLU # twice\n" in out
    assert lint(path, "--fix", "--diff")[0] == 1
    assert path.read_text() == before
    code, out, _ = lint(path, "--fix")
    assert code == 0
    assert path.read_text() == before.replace("  - ReLU # twice\n", "")
    assert lint(path, "--diff")[1] == ""


def test_fix_mends_only_what_is_selected(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    shutil.copy(MENDABLE, path)
    lint(path, "--fix", "--select", "bias-before-norm")
    assert path.read_text() == MENDABLE.read_text()
    assert lint(path, "--fix", "--ordering", "plain")[0] == 2


def test_a_run_directory_is_read_with_its_own_spec(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    _, plan = compile_spec(WARNING)
    (run / "plan.json").write_text(plan.to_json())
    shutil.copy(WARNING, run / "spec.yaml")
    code, out, _ = lint(run)
    assert code == 1
    assert out.startswith(f"{run / 'spec.yaml'}:6:5: warning[dropout-before-norm]")
    assert "^^^^^" in out
    assert lint(run, "--ordering", "W-N-A")[0] == 2
    (run / "plan.json").write_text("{")
    assert lint(run)[0] == 2


def test_many_files_in_one_call() -> None:
    paths = [spec_path(name) for name in ("digits", "mnist_mlp", "mnist_cnn")] * 30
    code, out, _ = lint(*paths, "--level", "warning")
    assert (code, out) == (0, "90 files: no findings\n")


def test_ten_thousand_layers() -> None:
    from kbuild.lint.check import lint as check
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    rows = "".join("  - Dense: {units: 64, activation: relu, use_bias: true}\n" for _ in range(2500))
    spec = parse_spec(f"input: {{shape: [64]}}\nordering: W-N-A-D\nlayers:\n{rows}  - Dense: 10\n")
    plan = plan_spec(spec)
    assert len(plan.layers) > 10_000
    findings = check(plan, spec.train, spec.source)
    assert {finding.rule for finding in findings} >= {"bias-before-norm"}
