"""What is said about error codes holds: each example raises its code, and its mended form raises nothing."""

from __future__ import annotations

import pytest

from kbuild.errors import CODES, SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.show.codes import EXPLAINED, in_full
from kbuild.spec.load import parse_spec
from tests.cli.test_cli_errors import inside

#: Codes that no spec alone can raise, and where their tests are.
ELSEWHERE = {"plugin": "an installed package: tests/test_broken_plugins.py"}
SHOWN = [code for code in EXPLAINED if code not in ELSEWHERE]
PLANNED = [code for code in SHOWN if not EXPLAINED[code].train]
TRAINED = [code for code in SHOWN if EXPLAINED[code].train]


def test_every_code_is_explained() -> None:
    assert set(EXPLAINED) == set(CODES)


def overrides(code: str) -> list[str]:
    return [word for word in EXPLAINED[code].options if word != "--set"]


@pytest.mark.parametrize("code", PLANNED)
def test_the_bad_spec_raises_its_code_and_no_other(code: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_spec(parse_spec(EXPLAINED[code].bad, None, overrides(code)))
    assert {problem.code for problem in caught.value.problems} == {code}


def test_every_other_code_has_both_specs() -> None:
    assert {code for code, told in EXPLAINED.items() if told.bad is None or told.good is None} == set(ELSEWHERE)


@pytest.mark.parametrize("code", SHOWN)
def test_the_good_spec_compiles(code: str) -> None:
    assert plan_spec(parse_spec(EXPLAINED[code].good)).layers


@pytest.mark.slow
@pytest.mark.parametrize("code", TRAINED)
def test_what_shows_with_the_data_shows_in_a_dry_run(code: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text, wanted in ((EXPLAINED[code].bad, 2), (EXPLAINED[code].good, 0)):
        (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
        exit_code, _, err = inside(*EXPLAINED[code].command.split()[1:])
        assert exit_code == wanted, err
        assert (f"error[{code}]" in err) is (wanted == 2)


@pytest.mark.parametrize("code", SHOWN)
def test_in_full_has_both_specs(code: str) -> None:
    text, told = in_full(code), EXPLAINED[code]
    assert CODES[code] in text
    assert told.command in text
    for line in f"{told.bad}\n{told.good}".splitlines():
        assert line in text
