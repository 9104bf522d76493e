"""The count of false alarms over real trainings: what benchmarks/aa.py does with finished trials."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.aa import PAIRS, compared, most
from kbuild.study.record import Record

pytest.importorskip("scipy")


def trials(values):
    return [Record(f"trial{at}", "W-A", at, metrics={"val_loss": float(one)}) for at, one in enumerate(values)]


def test_a_difference_between_the_two_groups_is_called_each_time_and_none_without_one():
    noise = np.random.default_rng(0).normal(size=6 * PAIRS)
    planted = np.tile(np.repeat([0.0, 5.0], PAIRS), 3)
    found = compared(trials(noise + planted), "val_loss", "min", 3)
    assert (found.repetitions, found.called, found.cover) == (3, 3, 0)
    found = compared(trials(np.tile([1.0, -1.0], 3 * PAIRS)), "val_loss", "min", 3)
    assert (found.repetitions, found.called, found.cover) == (3, 0, 3)


def test_the_bound_is_the_binomial_quantile():
    assert (most(20), most(40)) == (4, 6)
    assert most(20, 0.0) == 0 and most(20, 1.0) == 20
