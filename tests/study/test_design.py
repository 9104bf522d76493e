"""What is compared: arms, the baseline, the grid, orders that are the same model."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
import yaml

from kbuild.errors import InputError
from kbuild.policy import POLICIES
from kbuild.study.asked import Asked, make_design, read_seeds
from kbuild.study.design import Design
from kbuild.study.pilot import other_arm


def design(path, **asked):
    return make_design(path, Asked(**asked))[1]


def test_the_spec_s_own_ordering_is_the_baseline_though_nobody_names_it(spec_path):
    made = design(spec_path, orderings=("W-A", "W-A-D-N"))
    assert [arm.label for arm in made.arms] == ["W-N-A-D", "W-A", "W-A-D-N"]
    assert made.baseline == "W-N-A-D" and made.comparisons == 2 and len(made.trials) == 30
    assert (made.metric, made.direction) == ("val_accuracy", "max")


def test_a_policy_that_is_the_spec_s_own_model_is_the_baseline(spec_path):
    made = design(spec_path, orderings=("W-A", "conventional"))
    assert made.baseline == "conventional" and [arm.label for arm in made.arms] == ["W-A", "conventional"]


def test_orders_that_are_the_same_model_run_once(spec_path):
    made = design(spec_path, orderings=("W-A", "plain", "dropout-only", "W-A-D"), settings=("ordering.dropout.rate=0",))
    assert {arm.label: arm.same_as for arm in made.arms} == {
        "W-N-A-D": None, "W-A": None, "plain": "W-A", "dropout-only": "W-A", "W-A-D": "W-A",
    }  # fmt: skip
    assert len(made.distinct) == 2 and "W-A-D (W-A-D) is the same model as W-A (W-A) here: run once" in made.notes


def test_dropout_and_a_relu_commute_and_that_is_told(spec_path):
    made = design(spec_path, orderings=("W-N-A-D", "W-N-D-A"))
    assert len(made.distinct) == 2
    assert any("compute the same function" in note for note in made.notes)


def test_a_damaged_study_yaml_is_told_in_words():
    with pytest.raises(InputError, match=r"^not a study: while parsing .* line 1, column 5") as told:
        Design.from_yaml("x: [")
    assert "object at" not in str(told.value)


def test_the_pilot_compares_orders_that_differ(spec_path):
    _, made, plans = make_design(spec_path, Asked(orderings=("W-N-A-D", "W-N-D-A", "W-A")))
    assert other_arm(made, plans).label == "W-A"
    _, made, plans = make_design(spec_path, Asked(orderings=("W-N-A-D", "W-N-D-A")))
    assert other_arm(made, plans).label == "W-N-D-A"


def test_all_is_every_named_policy(spec_path):
    made = design(spec_path, orderings=("all",), seeds=(0,))
    assert [arm.label for arm in made.arms] == [policy.name for policy in POLICIES]


def test_a_grid_multiplies_the_arms_and_its_first_point_is_the_baseline_s(spec_path):
    made = design(spec_path, orderings=("W-N-A-D", "W-A-D"), grid=("ordering.dropout.rate=0.1,0.3",))
    assert [arm.label for arm in made.arms] == [
        "W-N-A-D rate=0.1", "W-N-A-D rate=0.3", "W-A-D rate=0.1", "W-A-D rate=0.3",
    ]  # fmt: skip
    assert made.baseline == "W-N-A-D rate=0.1"
    assert design(spec_path, grid=("ordering.dropout.rate=0.1,0.3",), baseline="W-N-A-D rate=0.3").baseline.endswith(
        "0.3"
    )


def test_values_of_a_grid_may_hold_brackets_in_brackets(spec_path):
    first = "[{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]"
    other = "[{RandomRotation: {factor: 0.1, interpolation: nearest}}, {RandomZoom: {height_factor: 0.1}}]"
    made = design(spec_path, grid=(f"train.augment={first},{other}",))
    assert [arm.overrides for arm in made.arms] == [(f"train.augment={first}",), (f"train.augment={other}",)]


def test_every_arm_has_files_of_its_own_that_a_file_system_takes(spec_path):
    made = design(spec_path, grid=("train.data={npz: a/b.npz},{npz: a_b.npz},{npz: %s.npz}" % ("é" * 300),))
    assert len({trial.id for trial in made.trials}) == len(made.trials) == 30
    assert max(len(f".{trial.id}.json.tmp-4194304".encode()) for trial in made.trials) <= 255


def test_a_grid_over_a_training_setting_makes_different_arms(spec_path):
    made = design(spec_path, grid=("train.batch_size=50,100",))
    assert len(made.distinct) == 2


def test_a_strategy_is_left_out_and_that_is_told(spec_path):
    asked = {"orderings": ("W-N-A-D", "W-A"), "seeds": (0, 1)}
    alone = design(spec_path, **asked)
    made = design(spec_path, **asked, settings=("train.strategy=mirrored:2",))
    assert [arm.fingerprint for arm in made.arms] == [arm.fingerprint for arm in alone.arms]
    assert any("train.strategy: mirrored:2 is left out" in note for note in made.notes)
    with pytest.raises(InputError, match="same model"):
        design(spec_path, grid=("train.strategy=mirrored:2,multiworker",))


def test_the_design_survives_its_file(spec_path):
    made = design(spec_path, orderings=("W-A", "plain"), grid=("ordering.dropout.rate=0.1,0.3",), epochs=3, target=0.5)
    assert Design.from_yaml(made.to_yaml()) == made
    assert yaml.safe_load(made.to_yaml())["kbuild_study"] == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "there is nothing to compare with W-N-A-D"),
        ({"orderings": ("conventional",)}, "nothing to compare with conventional"),
        ({"orderings": ("conventonal",)}, "did you mean 'conventional'?"),
        ({"orderings": ("W-A",), "baseline": "w-a"}, "write W-A"),
        (
            {"orderings": ("W-A",), "metric": "test_accuracy"},
            "for example val_accuracy; test data are reported, never used",
        ),
        ({"orderings": ("W-A",), "direction": "up"}, "--direction is one of max, min"),
        ({"orderings": ("W-A",), "grid": ("rate",)}, "--grid takes KEY=VALUE,VALUE"),
        ({"orderings": ("W-A",), "alpha": 5.0}, "--alpha is a rate"),
        ({"orderings": ("W-A",), "target": math.nan}, "--target is a value of val_accuracy, not nan"),
        ({"orderings": ("W-A",), "seeds": (1, 1)}, "--seeds"),
        ({"orderings": ("W-A",), "settings": ("train.validation=0",)}, "leave test data for the end"),
        ({"orderings": ("W-A",), "grid": ("layers.2.Dense.units=x",)}, "(under W-A units=x)"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(spec_path, asked, says):
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        design(spec_path, **asked)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "a", "1,b"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--seeds"):
        read_seeds(text)


def test_designing_and_analysing_need_no_tensorflow():
    code = (
        "import sys, kbuild.study.study, kbuild.study.report, kbuild.cli.study; "
        "bad = {*'tensorflow keras matplotlib scipy jinja2'.split()} & {*sys.modules}; sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
