"""The numbers of the variance shift, against the literature, algebra and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbuild.lint.shift import FUNCTIONS, delta, delta_between, homogeneous, moments

#: Li et al. 2019, relu of a standard normal input.
LITERATURE = {0.05: 0.928, 0.1: 0.860, 0.2: 0.732, 0.25: 0.672, 0.3: 0.614, 0.5: 0.405}


@pytest.mark.parametrize(("rate", "expected"), LITERATURE.items())
def test_the_ratios_of_the_literature(rate: float, expected: float) -> None:
    assert delta(rate, 0.398942, 0.340845) == pytest.approx(expected, abs=5e-4)
    assert delta_between(rate, "relu", None) == pytest.approx(expected, abs=5e-4)


def test_moments_of_relu() -> None:
    mean, variance = moments("relu")
    assert mean == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-6)
    assert variance == pytest.approx(0.5 - 1 / (2 * np.pi), rel=1e-6)


def test_selu_keeps_mean_and_variance() -> None:
    assert moments("selu") == pytest.approx((0, 1), abs=1e-5)


@given(st.floats(0, 0.95), st.floats(-10, 10), st.floats(0, 100))
def test_dropout_never_lowers_the_variance(rate: float, mean: float, variance: float) -> None:
    assert 0 <= delta(rate, mean, variance) <= 1 + 1e-12


@given(st.floats(0, 0.95))
def test_without_a_mean_the_ratio_is_what_is_kept(rate: float) -> None:
    assert delta(rate, 0, 1) == pytest.approx(1 - rate)


@pytest.mark.parametrize("before", FUNCTIONS)
@pytest.mark.parametrize("behind", [None, "elu", "tanh", "relu"])
def test_against_simulation(before: str, behind: str | None) -> None:
    random = np.random.default_rng(7)
    z, kept = random.standard_normal(200_000), 0.7
    act = np.vectorize(FUNCTIONS[before], otypes=[float])
    then = np.vectorize(FUNCTIONS[behind or "linear"], otypes=[float])
    mask = (random.random(z.size) < kept) / kept
    simulated = then(act(z)).var() / then(act(z) * mask).var()
    assert delta_between(0.3, before, behind) == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize(
    ("cls", "config", "expected"),
    [
        ("Activation", {"activation": "relu"}, True),
        ("Activation", {"activation": "gelu"}, False),
        ("ReLU", {"negative_slope": 0.1}, True),
        ("ReLU", {"threshold": 1.0}, False),
        ("LeakyReLU", {}, True),
        ("PReLU", {}, True),
        ("ELU", {}, False),
        ("Softmax", {}, False),
    ],
)
def test_which_activations_commute_with_dropout(cls: str, config: dict, expected: bool) -> None:
    assert homogeneous(cls, config) is expected
