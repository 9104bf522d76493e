"""Saved Keras models: every rule on one, and the settings they were compiled with.

That keras.applications have no warnings but those the docs defend is held in tests/importing/test_applications.py.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from kbuild.lint.check import lint
from kbuild.lint.compiled import compiled_settings
from kbuild.lint.rules import BY_ID, RULES
from kbuild.lint.subject import read_subject
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import parse_spec

#: Rules that no saved model can show, and why; every other has a bad and a good case from a saved model below.
NOT_IN_A_MODEL = {
    "small-batch-norm": "a model file does not say with which batch size the model was trained",
    "norm-statistics-unconverged": "a model file does not say for how many epochs, on how many examples",
    "commuting-orders": "it is about two policies of a study: its cases are pairs of orders in test_commuting.py",
    "unused-ignore": "suppressions are comments of a spec",
}


def linted(path: Path):
    subject = read_subject(path)
    return lint(subject.plan, subject.train, subject.text, folder=subject.folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bad", "good"])
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.id not in NOT_IN_A_MODEL], ids=lambda rule: rule.id)
def test_a_rule_holds_on_the_saved_model_of_its_example(rule, kind: str, tmp_path: Path) -> None:
    from kbuild.model.backend import import_keras
    from kbuild.model.lower import build_model

    keras = import_keras()
    text = getattr(rule, kind).lstrip()
    spec = parse_spec(text)
    model = build_model(plan_spec(spec))
    if spec.train is not None:
        loss = spec.train.loss[0]
        logits = kind == "bad"  # Keras derives nothing from the head
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=logits))
        assert loss is not None
    model.save(tmp_path / "model.keras")
    found = linted(tmp_path / "model.keras")
    assert (rule.id in {one.rule for one in found}) == (kind == "bad")
    assert all(one.span is None and one.fix is None for one in found)


PLAN = plan_spec(parse_spec("input: {shape: [4]}\nordering: plain\nlayers: [{Dense: {units: 3, activation: softmax}}]"))


@pytest.mark.parametrize(
    ("loss", "logits"),
    [
        ("sparse_categorical_crossentropy", False),
        ({"class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": True}}, True),
        ({"class_name": "function", "config": "sparse_categorical_crossentropy"}, False),
        (["sparse_categorical_crossentropy"], False),
    ],
)
def test_what_a_model_was_compiled_with(loss, logits: bool) -> None:
    settings = compiled_settings({"compile_config": {"loss": loss, "optimizer": "adamw"}}, PLAN)
    assert settings is not None
    assert settings.loss[0].class_name == "SparseCategoricalCrossentropy"
    assert settings.loss[0].config["from_logits"] is logits
    assert settings.optimizer.class_name == "adamw"
    found = {one.rule for one in lint(PLAN, settings)}
    assert ("loss-activation-mismatch" in found) is logits


@pytest.mark.parametrize(
    "compiled", [None, {}, {"loss": None}, {"loss": "my_loss"}, {"loss": {"other": "mse"}}, {"loss": 3}]
)
def test_a_loss_that_is_not_keras_says_nothing(compiled) -> None:
    assert compiled_settings({"compile_config": compiled}, PLAN) is None


def test_a_broken_model_is_unreadable(tmp_path: Path) -> None:
    from kbuild.errors import InputError

    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": 3}))
    with pytest.raises(InputError):
        read_subject(tmp_path / "a.keras")
    with pytest.raises(InputError, match="--ordering and --set apply to specs"):
        read_subject(tmp_path / "a.keras", "W-N-A")


def test_rules_without_a_model_say_why() -> None:
    assert set(BY_ID) >= set(NOT_IN_A_MODEL)
    assert len(RULES) - len(NOT_IN_A_MODEL) == 17
