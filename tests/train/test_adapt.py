"""Layers that learn from data: from the training rows alone, alike every time, and kept with the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, SpecError
from kbuild.train import adapt
from kbuild.train.classes import FILE
from kbuild.train.prepare import build, prepare
from tests.train.test_table import SPEC, people

HAND = """\
inputs:
  age: {shape: [1]}
  hours_per_week: {shape: [1]}
  job: {shape: [], dtype: string}
layers:
  - {Normalization: , name: scaled, from: age}
  - {Discretization: {num_bins: 4, output_mode: one_hot}, name: binned, from: hours_per_week}
  - {TextVectorization: {max_tokens: 4, output_mode: count, pad_to_max_tokens: true}, name: words, from: job}
  - {Concatenate: , from: [scaled, binned, words]}
  - {Dense: 2, name: out}
train:
  data: {csv: people.csv, y: income}
  loss: sparse_categorical_crossentropy
  validation: 0.25
"""


def test_layers_learn_from_training_rows_alone(tmp_path: Path, compiled: Callable[..., Any]) -> None:
    (tmp_path / "people.csv").write_text(people(40) + "1000000,5,tech,only-here,>50K\n" * 4)
    spec, plan = compiled(SPEC, "train.validation=0.5")
    prepared = prepare(spec, plan, spec.train)
    train = prepared.data.train.x
    model = build(prepared, plan)
    learnt = model.get_layer("table_normalized")
    joined = np.concatenate([train["age"], train["hours_per_week"]], 1).astype("float64")
    np.testing.assert_allclose(learnt.adapt_mean, joined.mean(0), rtol=1e-6)
    np.testing.assert_allclose(learnt.adapt_variance, joined.var(0), rtol=1e-6)
    words = model.get_layer("city_lookup").get_vocabulary()
    assert words[0] == "[UNK]"
    values, counts = np.unique(train["city"].astype(str), return_counts=True)
    assert words[1:] == [str(values[at]) for at in np.lexsort((values, counts))[::-1]][:4]
    assert model.get_layer("job_lookup").get_vocabulary() == ["[UNK]", "tech", "admin"]


def test_a_run_keeps_what_was_learnt(tmp_path: Path, compiled: Callable[..., Any]) -> None:
    from kbuild.export.exporting import export
    from kbuild.train.evaluate import evaluate
    from kbuild.train.predict import predict
    from kbuild.train.run import train

    (tmp_path / "people.csv").write_text(people(300))
    spec, plan = compiled(SPEC, "train.validation=0.2")
    run = train(spec, plan, run_dir=tmp_path / "run", quiet=True).run_dir
    assert json.loads((run / FILE).read_text()) == {"out": ["<=50K", ">50K"]}
    saved, best = evaluate(run, quiet=True), evaluate(run, best=True, quiet=True)
    assert saved["metrics"]["validation"]["loss"] == pytest.approx(best["metrics"]["validation"]["loss"], rel=1e-5)
    (tmp_path / "new.csv").write_text("city,job,hours-per-week,age\noslo,tech,69,79\natlantis,nobody,5,18\n")
    rows = []
    for which in (False, True):
        predict(run, tmp_path / "new.csv", tmp_path / "p.jsonl", best=which, overwrite=True)
        rows.append([json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()])
    assert [row["out"] for row in rows[0]] == [pytest.approx(row["out"], rel=1e-4) for row in rows[1]]
    (tmp_path / "new.csv").write_text("city,job,hours-per-week\noslo,tech,69\n")
    with pytest.raises(SpecError, match="has no column 'age'"):
        predict(run, tmp_path / "new.csv")
    with pytest.raises(InputError, match="litert cannot hold the vocabularies of job_lookup, city_lookup"):
        export(run, "litert", output=tmp_path / "art")
    again = export(run, "savedmodel,keras", output=tmp_path / "art")
    assert all(not figures["problems"] for figures in again.artifacts.values())
    (tmp_path / "people.csv").write_text(people(300).replace("rome", "bern"))
    with pytest.raises(InputError, match="not those of the run any more: table_normalized, city_lookup learnt from"):
        export(run, "keras", output=tmp_path / "other")


def test_layers_that_a_spec_names_learn_too(
    tmp_path: Path, compiled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people.csv").write_text(people(400))
    monkeypatch.setattr(adapt, "ROWS", 64)  # several batches
    spec, plan = compiled(HAND)
    prepared = prepare(spec, plan, spec.train)
    train = prepared.data.train.x
    one, other = build(prepared, plan), build(prepared, plan)
    ages, hours = train["age"].astype("float64"), train["hours_per_week"]
    scaled = one.get_layer("scaled")
    np.testing.assert_allclose([scaled.adapt_mean, scaled.adapt_variance], [ages.mean(0), ages.var(0)], rtol=1e-6)
    edges = one.get_layer("binned").bin_boundaries
    shares = np.bincount(np.digitize(hours[:, 0], edges), minlength=4) / len(hours)
    np.testing.assert_allclose(shares, 0.25, atol=0.05)
    assert edges == other.get_layer("binned").bin_boundaries
    assert set(one.get_layer("words").get_vocabulary()) == {"[UNK]", "tech", "admin"}
    assert one.get_layer("words").get_vocabulary() == other.get_layer("words").get_vocabulary()
