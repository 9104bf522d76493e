"""A second seed on a traced model gives the bytes that a fresh process gives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.plan.pipeline import compile_spec
from kbuild.study.design import NotMeasured, Trial
from kbuild.study.examples import Shelf
from kbuild.study.session import Session
from kbuild.train.data import memory
from kbuild.train.run import train, train_settings
from kbuild.train.trainer import Trainer
from tests.study.conftest import SPEC

#: All that draws random numbers or keeps a state: initializers, dropout, BN, augmentation, a schedule, early stopping.
FULL = """\
name: full
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, dropout: 0.2}
layers:
  - Rescaling: 0.0625
  - Conv2D: {filters: 4, kernel_size: 3, activation: relu, kernel_initializer: he_uniform}
  - Flatten
  - Dense: {units: 16, activation: elu}
  - GaussianNoise: 0.05
  - {Dense: 10, name: out}
train:
  data: digits
  loss: sparse_categorical_crossentropy
  metrics: [accuracy]
  optimizer: {Adam: {learning_rate: {CosineDecay: {initial_learning_rate: 0.01, decay_steps: 50}}}}
  augment: [{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]
  callbacks: [{EarlyStopping: {patience: 1, restore_best_weights: true}}, TensorBoard]
  class_weight: {0: 2.0}
  epochs: 3
  batch_size: 200
"""


def session(path, **changes) -> Session:
    spec, plan = compile_spec(path)
    return Session(spec, plan, replace(train_settings(spec), **changes))


def run(on: Session, seed: int) -> Any:
    record = on.run(Trial("arm", "arm", seed))
    assert record.finished, record.reason
    return record


def same_bytes(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return [value.tobytes() for value in one] == [value.tobytes() for value in other]


@pytest.fixture
def full(tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(FULL, encoding="utf-8")
    return path


def test_a_seed_on_a_used_model_gives_the_bytes_of_a_new_one(full):
    used, new = session(full), session(full)
    run(used, 0)
    late, fresh = run(used, 5), run(new, 5)
    assert late.metrics == fresh.metrics and late.history == fresh.history and late.first is False
    assert same_bytes(used.variables, new.variables)
    assert not same_bytes(used.variables, before_and_after(used, 6))


def test_a_seed_on_a_used_model_reads_its_own_rows_of_the_files(spec_path, monkeypatch):
    in_memory = session(spec_path)
    monkeypatch.setattr(memory, "memory", lambda: 0)
    digits = np.load(Path(__file__).parents[2] / "kbuild/data/digits.npz")
    np.savez(spec_path.with_name("data.npz"), **digits)  # not compressed: rows can be read
    spec_path.write_text(SPEC.replace("data: digits", "data: {npz: data.npz}"), encoding="utf-8")
    used = session(spec_path)
    assert not used.unsplit.train.resident
    run(used, 0)
    expected, late = run(in_memory, 5), run(used, 5)
    assert late.metrics == expected.metrics and late.history == expected.history
    assert same_bytes(used.variables, in_memory.variables)


def test_arms_share_the_examples_they_have_in_common(spec_path):
    shelf, plans = Shelf(), {}
    for name, overrides in {"one": [], "other": ["ordering=W-A"], "less": ["train.validation=0.2"]}.items():
        spec, plan = compile_spec(spec_path, None, overrides)
        plans[name] = Session(spec, plan, train_settings(spec), shelf).unsplit
    assert plans["one"] is plans["other"] is not plans["less"]


@pytest.mark.parametrize(
    ("overrides", "metric", "told"),
    [
        ([], "val_acuracy", "not measure val_acuracy; there are val_loss, val_accuracy; did you mean 'val_accuracy'"),
        (["train.callbacks=[{EarlyStopping: {monitor: val_acc}}]"], "val_loss", "EarlyStopping watches 'val_acc'"),
    ],
)
def test_names_that_are_not_measured_are_told_before_anything_trains(spec_path, monkeypatch, overrides, metric, told):
    spec, plan = compile_spec(spec_path, None, overrides)
    on = Session(spec, plan, train_settings(spec), metric=metric)
    monkeypatch.setattr(Trainer, "run", lambda *words: pytest.fail("it trains"))
    with pytest.raises(NotMeasured, match=told):
        on.run(Trial("arm", "arm", 0))


def before_and_after(on: Session, seed: int) -> list[np.ndarray]:
    run(on, seed)
    return on.variables


@pytest.mark.slow
def test_a_trial_measures_what_kbuild_train_measures(spec_path, tmp_path):
    on = session(spec_path)
    run(on, 1)
    record = run(on, 4)
    spec, plan = compile_spec(spec_path)
    trained = train(spec, plan, seed=4, run_dir=tmp_path / "run", quiet=True)
    assert record.metrics["val_accuracy"] == trained.metrics["validation"]["accuracy"]
    assert record.metrics["val_loss"] == pytest.approx(trained.metrics["validation"]["loss"], rel=1e-6)
    assert record.metrics["test_accuracy"] == trained.metrics["test"]["accuracy"]


def test_a_divergence_is_a_record_and_leaves_the_next_seed_as_it_is(spec_path):
    calm = run(session(spec_path), 1)
    on = session(spec_path)
    assert on.run(Trial("arm", "arm", 0)).finished
    ready = on._ready

    def poisoned(*words):
        loop = ready(*words)
        loop.model.trainable_variables[0].assign(np.full(loop.model.trainable_variables[0].shape, math.nan))
        return loop

    on._ready = poisoned
    record = on.run(Trial("arm", "arm", 1))
    assert record.state == "diverged" and "NaN" in record.reason
    on._ready = ready
    assert run(on, 1).metrics == calm.metrics


def test_a_model_that_memory_has_no_room_for_is_a_record_and_leaves_the_next_seed_as_it_is(spec_path, monkeypatch):
    import tensorflow as tf

    on = session(spec_path)
    calm = run(session(spec_path), 1)
    with monkeypatch.context() as small:
        told = "OOM when allocating tensor with shape[512,4000000] and type float on /job:localhost by allocator cpu"
        error = tf.errors.ResourceExhaustedError(None, None, told)
        small.setattr("kbuild.study.session.build", lambda *words: (_ for _ in ()).throw(error))
        record = on.run(Trial("arm", "arm", 0))
    assert record.state == "memory"
    assert record.reason == "out of memory when allocating tensor with shape[512,4000000] and type float"
    assert run(on, 1).metrics == calm.metrics
