"""What the ejected training says of weight decay, weighted metrics and sample weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbuild.cli.code import _training
from kbuild.errors import InputError
from kbuild.plan.pipeline import plan_spec
from kbuild.show.eject.training import functions
from kbuild.spec.load import parse_spec

SPEC = """\
input: {shape: [8, 8, 1]}
layers:
  - Flatten
  - Dense: 10
train:
  data: DATA
  loss: sparse_categorical_crossentropy
  optimizer: OPTIMIZER
  weighted_metrics: [accuracy]
  decay: DECAY
"""


def main(optimizer: str, decay: str = "weights", data: str = "digits") -> str:
    text = SPEC.replace("OPTIMIZER", optimizer).replace("DECAY", decay).replace("DATA", data)
    spec = parse_spec(text)
    plan = plan_spec(spec)
    return functions(_training(spec, plan, Path()), plan)[-1]


@pytest.mark.parametrize(
    ("optimizer", "decay", "spared"),
    [
        ("{SGD: {weight_decay: 0.1}}", "weights", True),
        ("AdamW", "weights", True),  # it decays by default
        ("AdamW", "all", False),
        ("Adam", "weights", False),
    ],
)
def test_decay_is_that_of_the_training(optimizer: str, decay: str, spared: bool) -> None:
    written = main(optimizer, decay)
    assert ('optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])' in written) is spared
    assert ("optimizer=optimizer," in written) is spared
    assert 'weighted_metrics=["accuracy"]' in written


def test_sample_weights_are_not_left_out_in_silence() -> None:
    with pytest.raises(InputError, match="ejected code loads no sample weights"):
        main("Adam", data="{npz: a.npz, sample_weight: w}")
