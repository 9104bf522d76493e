"""The specs that ship: each compiles, and the recommendations differ in the ordering line alone."""

from __future__ import annotations

import pytest

from kbuild.errors import InputError
from kbuild.plan.pipeline import plan_spec
from kbuild.resources import spec_names, spec_path, specs_dir
from kbuild.spec.load import load_spec

RECOMMENDATIONS = {
    "digits_scheme2": "W-N-A-D",
    "digits_scheme1": "W-A-D-N",
    "digits_after_activation": "W-A-N-D",
    "digits_no_dropout": "W-N-A",
}


def lines_of(name: str) -> list[str]:
    return spec_path(name).read_text("utf-8").splitlines()


def test_all_that_the_docs_name_are_there() -> None:
    assert {"digits", "mnist_mlp", "mnist_cnn", *RECOMMENDATIONS} <= set(spec_names())


@pytest.mark.parametrize("name", spec_names())
def test_each_compiles_completely(name: str) -> None:
    plan = plan_spec(load_spec(spec_path(name)))
    assert plan.name == name
    assert not plan.unresolved


@pytest.mark.parametrize("name", RECOMMENDATIONS)
def test_the_recommendations_differ_in_the_ordering_line_alone(name: str) -> None:
    here, reference = lines_of(name), lines_of("digits_scheme2")
    assert len(here) == len(reference)
    different = [pair for pair in zip(here, reference, strict=True) if pair[0] != pair[1]]
    assert len(different) == (0 if name == "digits_scheme2" else 1)
    assert all(line.startswith("ordering: ") for pair in different for line in pair)


@pytest.mark.parametrize(("name", "order"), RECOMMENDATIONS.items())
def test_the_comment_beside_the_ordering_states_its_order(name: str, order: str) -> None:
    line = next(line for line in lines_of(name) if line.startswith("ordering: "))
    assert plan_spec(load_spec(spec_path(name))).order == order
    assert f"# {order}:" in line


def test_the_first_recommendation_is_the_default_spec_in_short() -> None:
    whole, short = (plan_spec(load_spec(spec_path(name))) for name in ("digits", "digits_scheme2"))
    assert [layer.name for layer in whole.layers] == [layer.name for layer in short.layers]
    assert [layer.config for layer in whole.layers] == [layer.config for layer in short.layers]


def test_a_spec_is_found_with_and_without_its_suffix() -> None:
    assert spec_path("digits.yaml") == spec_path("digits") == specs_dir() / "digits.yaml"


def test_an_unknown_spec_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no spec named 'digit' ships with kbuild; did you mean 'digits'"):
        spec_path("digit")
    with pytest.raises(InputError, match="there are: digits, "):
        spec_path("nothing_like_it")
