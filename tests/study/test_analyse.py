"""The verdict is calibrated: it calls differences that are not there as rarely as it says, and finds those that are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kbuild.study.analyse import analyse, compare, decide
from kbuild.study.design import Arm, Design, fewest_seeds
from kbuild.study.inference import holm, may_be_best, sign_flip, t_interval
from kbuild.study.power import detectable, power
from kbuild.study.record import Record
from kbuild.study.survival import Epochs, epochs_to_target
from kbuild.study.words import DISAGREE

pytest.importorskip("scipy")

REPETITIONS = 250


def study(values, metric="val_accuracy", direction="max", states=None, **more):
    """A design and records from {label: values per seed}; the first arm is the baseline."""
    seeds = tuple(range(len(next(iter(values.values())))))
    arms = tuple(Arm(label, label, (), "W-N-A-D", label) for label in values)
    design = Design("demo", arms, seeds, next(iter(values)), metric, direction, **more)
    records = {}
    for trial in design.trials:
        state = (states or {}).get((trial.arm, trial.seed), "finished")
        value = float(values[trial.arm][trial.seed])
        metrics = {metric: value, "test_accuracy": value - 0.01} if state == "finished" else {}
        records[trial.id] = Record(trial.id, trial.arm, trial.seed, state, metrics=metrics, epochs=1)
    return design, records


def simulated(generator, arms, seeds, effects=None, shared=1.0, noise=0.5):
    """Values with a part that all arms of a seed share, as pairing by seed gives."""
    common = generator.normal(size=seeds) * shared
    return {
        f"arm{index}": common + generator.normal(size=seeds) * noise + (effects or {}).get(index, 0.0)
        for index in range(arms)
    }


def test_a_policy_against_itself_is_called_different_no_more_often_than_alpha():
    generator = np.random.default_rng(1)
    called = 0
    for _ in range(REPETITIONS):
        values = simulated(generator, 4, 10)
        found = {label: compare(values[label], values["arm0"]) for label in list(values)[1:]}
        called += any(one.verdict in ("better", "worse") for one in decide(found, "max").values())
    assert called / REPETITIONS <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / REPETITIONS)


def test_two_arms_reach_the_nominal_rate_and_are_not_merely_silent():
    generator = np.random.default_rng(2)
    p = sign_flip(generator.normal(size=(2000, 10)))
    assert 0.03 < np.mean(p < 0.05) < 0.065


def test_the_set_of_the_best_holds_all_equal_arms_at_its_rate():
    generator = np.random.default_rng(3)
    whole = sum(len(may_be_best(simulated(generator, 3, 10))) == 3 for _ in range(200)) / 200
    assert whole >= 0.95 - 2.6 * math.sqrt(0.05 * 0.95 / 200)


def test_the_set_of_the_best_loses_what_is_clearly_worse_and_keeps_the_best():
    generator = np.random.default_rng(4)
    values = simulated(generator, 4, 10, {0: 3.0, 1: 3.0, 3: -9.0}, noise=0.2)
    assert set(may_be_best(values)) == {"arm0", "arm1"}
    assert set(may_be_best({label: -row for label, row in values.items()}, "min")) == {"arm0", "arm1"}


@pytest.mark.parametrize(("seeds", "comparisons", "effect"), [(10, 1, 1.0), (10, 3, 1.2), (8, 1, 1.2)])
def test_a_planted_difference_is_found_as_often_as_the_dry_run_says(seeds, comparisons, effect):
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(REPETITIONS):
        # Of all comparisons only the first has a difference: then Holm's first step decides, as `power` assumes.
        values = simulated(generator, comparisons + 1, seeds, {1: effect}, noise=math.sqrt(0.5))
        made = {label: compare(values[label], values["arm0"]) for label in list(values)[1:]}
        found += decide(made, "max")["arm1"].verdict == "better"
    predicted = power(effect, 1.0, seeds, comparisons)
    assert found / REPETITIONS == pytest.approx(predicted, abs=0.03 + 2.6 * math.sqrt(0.25 / REPETITIONS))


def test_with_many_pairs_the_t_test_has_the_power_of_the_exact_test():
    drawn = np.random.default_rng(7).normal(0.8, 1.0, size=(150, 12))
    assert np.mean(sign_flip(drawn) < 0.05) == pytest.approx(power(0.8, 1.0, 12), abs=0.1)


def test_intervals_cover_at_their_nominal_rate():
    generator = np.random.default_rng(6)
    intervals = [t_interval(generator.normal(0.3, 1.0, size=10)) for _ in range(2000)]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=2.6 * math.sqrt(0.05 * 0.95 / 2000))


def test_the_exact_test_counts_sign_flips():
    assert float(sign_flip(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))) == 2 / 64
    assert float(sign_flip(np.zeros(8))) == 1.0
    assert float(sign_flip(np.array([3.0, -1.0]))) == 1.0
    # More pairs than are counted one by one: still the same p value, to sampling error.
    assert float(sign_flip(np.tile([1.0, -0.9], 10))) == pytest.approx(0.6, abs=0.25)


def test_accuracies_in_float32_tie_as_their_counts_do():
    hits = np.array([3, -1, 2, 1, 1, -2, 4, 1])
    share = (np.float32(0.9) + (hits / 144).astype("float32") - np.float32(0.9)).astype("float64")
    assert float(sign_flip(share)) == float(sign_flip(hits.astype("float64")))


def test_holm_is_monotone_and_never_above_one():
    assert holm([0.04, 0.5, 0.9]) == [0.12, 1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("seeds", "arms"), [(1, 2), (2, 3), (5, 2), (6, 3)])
def test_too_few_seeds_name_no_winner_however_large_the_difference(seeds, arms):
    values = {f"arm{index}": np.linspace(0.5, 0.6, seeds) + index for index in range(arms)}
    result = analyse(*study(values))
    assert result.too_few and "too few seeds" in result.verdict and result.best is None
    assert all("too few seeds" in sentence for sentence in result.sentences)
    assert all(arm.may_be_best is None for arm in result.arms)


def test_six_pairs_suffice_for_one_comparison():
    values = {
        "base": np.array([0.9, 0.91, 0.92, 0.9, 0.89, 0.93]),
        "other": np.array([0.94, 0.95, 0.95, 0.93, 0.94, 0.96]),
    }
    result = analyse(*study(values))
    assert result.arm("other").against["val_accuracy"].verdict == "better"
    assert "other is better than base" in result.verdict and "or this model and data" in result.verdict
    assert result.best == "other"


def test_less_is_better_for_a_loss():
    values = {"base": np.linspace(0.5, 0.6, 8), "other": np.linspace(0.4, 0.51, 8)}
    result = analyse(*study(values, "val_loss", "min"))
    assert result.arm("other").against["val_loss"].verdict == "better"
    assert result.arm("other").against["val_loss"].better_share == 1.0


def test_fewest_seeds_is_where_the_smallest_p_value_passes():
    for comparisons in range(1, 40):
        seeds = fewest_seeds(comparisons)
        assert comparisons * 2 / 2**seeds <= 0.05
        assert seeds == 6 or comparisons * 2 / 2 ** (seeds - 1) > 0.05


def test_a_diverged_trial_counts_as_the_worst_value_there_is():
    values = {"base": np.full(8, 0.9) + np.arange(8) / 1000, "other": np.full(8, 0.91) + np.arange(8) / 1000}
    result = analyse(*study(values, states={("other", 3): "diverged"}))
    other = result.arm("other")
    assert other.counts == {"finished": 7, "diverged": 1}
    assert other.against["val_accuracy"].pairs == 8
    assert other.against["val_accuracy"].better_share == 7 / 8
    assert "1 diverged" in result.sentences[0]


def test_an_arm_that_always_diverges_is_worse_though_the_worst_of_the_others_is_its_value():
    values = {"base": np.linspace(0.80, 0.82, 7), "wild": np.zeros(7)}
    result = analyse(*study(values, states={("wild", seed): "diverged" for seed in range(7)}))
    assert result.arm("wild").against["val_accuracy"].better_share == 0
    assert result.arm("wild").against["val_accuracy"].verdict == "worse"
    assert "wild is worse than base" in result.verdict and "Diverged: 7 of 7 of wild." in result.verdict


def test_two_tests_that_disagree_are_told():
    base = np.linspace(0.80, 0.82, 7)
    step = np.array([1, 1, 1, 1, 1, 1, -0.2]) / 100  # p = 4/128, and twice that after Holm's correction
    result = analyse(*study({"base": base, "one": base + step, "low": base - 9 * step[::-1]}))
    assert result.arm("one").against["val_accuracy"].verdict == "not distinguishable"
    assert [arm.may_be_best for arm in result.arms] == [False, True, False]
    assert result.verdict.endswith("one is the best of them." + DISAGREE)
    agreed = analyse(*study({"base": base, "one": base + 0.01, "low": base - 0.09}))
    assert "one is better than base; low is worse than base. one is the best" in agreed.verdict
    assert DISAGREE not in agreed.verdict


def test_a_killed_trial_leaves_its_pair_out_and_is_told():
    values = {"base": np.full(8, 0.9), "other": np.linspace(0.91, 0.93, 8)}
    result = analyse(*study(values, states={("base", 0): "died"}))
    assert result.arm("other").against["val_accuracy"].pairs == 7
    assert result.arm("base").counts == {"died": 1, "finished": 7}


def test_an_arm_that_always_dies_does_not_silence_the_others():
    values = {"base": np.linspace(0.80, 0.82, 8), "good": np.linspace(0.9, 0.93, 8), "sick": np.zeros(8)}
    dead = {("sick", seed): "memory" for seed in range(8)}
    result = analyse(*study(values, states=dead))
    assert result.arm("good").against["val_accuracy"].verdict == "better"
    assert result.best == "good" and result.arm("sick").may_be_best is None
    assert "good is better than base" in result.verdict and "too few seeds to say of sick" in result.verdict
    assert result.arm("sick").counts == {"memory": 8}
    nothing = analyse(*study(values, states={("base", seed): "died" for seed in range(8)}))
    assert nothing.too_few and "too few seeds" in nothing.verdict


def test_epochs_to_a_target_count_those_that_never_reach_it():
    design, records = study({"base": np.zeros(4), "other": np.zeros(4)})
    curves = {"base": [0.1, 0.6, 0.7], "other": [0.1, 0.2, 0.3]}
    records = {
        name: Record(record.trial, record.arm, record.seed, history={"val_accuracy": curves[record.arm]})
        for name, record in records.items()
    }
    found = epochs_to_target(design, records, 0.5)
    assert (found["base"].reached, found["base"].median) == (4, 2.0)
    assert (found["other"].reached, found["other"].median) == (0, None)
    assert found["other"].p is not None and found["other"].p < 0.05


@pytest.mark.parametrize(
    ("first", "median"),
    [((5, 3, 8, 0, 6, 0, 4, 4, 5, 0), 5), ((0, 8, 8, 0, 0, 0, 5, 6, 6, 0), 8), ((0, 8, 8, 0, 0, 0, 5, 6, 0, 0), None)],
)
def test_the_median_is_the_epoch_by_which_half_have_reached_the_target(first, median):
    design, records = study({"base": np.zeros(10), "other": np.zeros(10)})
    curves = [[float(epoch >= when > 0) for epoch in range(1, 11)] for when in first]
    records = {n: replace(record, history={"val_accuracy": curves[record.seed]}) for n, record in records.items()}
    found = epochs_to_target(design, records, 0.5)["other"]
    assert (found.reached, found.median) == (sum(when > 0 for when in first), median)


def test_one_seed_has_no_p_of_its_epochs_and_warns_of_nothing(recwarn):
    design, records = study({"base": np.zeros(1), "other": np.zeros(1)})
    records = {name: replace(record, history={"val_accuracy": [0.6]}) for name, record in records.items()}
    assert epochs_to_target(design, records, 0.5)["other"] == Epochs(1, 1, 1.0, None)
    assert not recwarn.list


def test_more_seeds_detect_smaller_differences():
    found = [detectable(1.0, seeds, 2) for seeds in (6, 7, 10, 20, 40, 200)]
    assert found[0] is None
    assert found[1:] == sorted(found[1:], reverse=True) and found[-1] == pytest.approx(
        3.08 / math.sqrt(200), rel=0.05
    )  # z(1 - 0.025/2) + z(0.8)
