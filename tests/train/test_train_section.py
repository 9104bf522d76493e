"""The `train` section: what is accepted, and every message about what is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kbuild.errors import Problem
from kbuild.spec.data import DataSettings
from kbuild.spec.reader import read_text
from kbuild.spec.train import CheckpointEvery, TrainSettings, read_train

GOOD = "data: digits\nloss: mse\n"


def read(text: str) -> tuple[TrainSettings | None, list[Problem]]:
    problems: list[Problem] = []
    return read_train(read_text(text, "s.yaml"), problems), problems


def test_defaults() -> None:
    settings, problems = read(GOOD)
    assert not problems
    assert settings is not None
    assert settings.data == DataSettings("digits", "digits", span=settings.data.span)
    assert (settings.epochs, settings.batch_size, settings.seed, settings.validation) == (10, 32, 0, 0.1)
    assert settings.optimizer.class_name == "Adam"
    assert settings.shuffle
    assert not settings.deterministic


def test_everything_at_once() -> None:
    settings, problems = read(
        "data: {npz: a/b.npz, x: images, y: {out: labels}}\n"
        "validation: v.npz\n"
        "loss: {a: mse, b: {Huber: {delta: 2.0}}}\n"
        "optimizer: {SGD: {learning_rate: {CosineDecay: {initial_learning_rate: 0.1, decay_steps: 10}}}}\n"
        "metrics: [accuracy, {TopKCategoricalAccuracy: {k: 3}}]\n"
        "callbacks: [{EarlyStopping: {patience: 3}}]\n"
        "class_weight: {0: 1, 2: 2.5}\n"
        "precision: mixed_bfloat16\n"
        "deterministic: true\n"
    )
    assert not problems
    assert settings is not None
    assert settings.data.options == {"x": "images", "y": {"out": "labels"}}
    assert isinstance(settings.validation, DataSettings)
    assert settings.validation.source == "v.npz"
    assert [(one.target, one.class_name) for one in settings.loss] == [("a", "MeanSquaredError"), ("b", "Huber")]
    assert settings.class_weight == {0: 1.0, 2: 2.5}
    rate = settings.optimizer.config["learning_rate"]
    assert rate["class_name"] == "CosineDecay"
    assert [one.class_name for one in settings.metrics] == ["accuracy", "TopKCategoricalAccuracy"]


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("[1]", "wrong-type", "`train` must be a mapping, not a list", "for example"),
        ("loss: mse", "missing-key", "`train` needs `data`", "digits"),
        ("data: digits", "missing-key", "`train` needs `loss`", "sparse"),
        (GOOD + "epoch: 3", "unknown-key", "no setting 'epoch'", "did you mean 'epochs'?"),
        (GOOD + "epochs: 0", "wrong-type", "`epochs` must be a whole number from 1", ""),
        (GOOD + "epochs: true", "wrong-type", "not true", ""),
        (GOOD + "batch_size: 1.5", "wrong-type", "`batch_size` must be a whole number", ""),
        (GOOD + "seed: -1", "wrong-type", "from 0 to 2147483647", ""),
        (GOOD + "shuffle: 1", "wrong-type", "`shuffle` must be true or false", ""),
        (GOOD + "validation: 1", "wrong-type", "a share from 0 (none) to below 1", ""),
        (GOOD + "validation: .nan", "wrong-type", "a share from 0", ""),
        (GOOD + "precision: mixed_float61", "wrong-type", "one of float32", "did you mean 'mixed_float16'?"),
        (GOOD + "steps_per_epoch: 9", "not-yet", "`steps_per_epoch` is not part of this version", ""),
        (GOOD + "checkpoint_every: 0", "wrong-type", "`checkpoint_every` must be a whole number from 1", ""),
        (GOOD + "checkpoint_every: [5]", "wrong-type", "must be a number of steps, or {minutes: 5}", ""),
        (GOOD + "checkpoint_every: {hours: 1}", "wrong-type", "must be a number of steps, or {minutes: 5}", ""),
        (
            GOOD + "checkpoint_every: {minutes: 0}",
            "wrong-type",
            "`checkpoint_every.minutes` must be a number above 0",
            "",
        ),
        (GOOD + "checkpoint_every: {minutes: .inf}", "wrong-type", "`checkpoint_every.minutes` must be", ""),
        (GOOD + "class_weight: {a: 1}", "wrong-type", "the class 'a' is not a number", ""),
        (GOOD + "class_weight: {1: -1}", "wrong-type", "`class_weight.1` must be a number from 0", ""),
        (GOOD + "class_weight: 2", "wrong-type", "a mapping from class numbers", "for example"),
        (GOOD + "optimizer: Adm", "unknown-name", "no optimizer 'Adm'", "did you mean 'Adam'?"),
        (
            GOOD + "callbacks: [LambdaCallback]",
            "unknown-name",
            "the callback LambdaCallback is refused: it runs code",
            "",
        ),
        (GOOD + "callbacks: [BackupAndRestore]", "unknown-name", "kbuild keeps checkpoints itself", ""),
        ("data: mnist\nloss: mse", "wrong-type", "`data` must be `digits` or a mapping", "{keras: mnist}"),
        ("data: a.npz\nloss: mse", "wrong-type", "`data` must be", "write {npz: a.npz}"),
        ("data: digit\nloss: mse", "wrong-type", "`data` must be", "did you mean 'digits'?"),
        ("data: [a]\nloss: mse", "wrong-type", "`data` must be `digits` or a mapping", ""),
        ("data: {}\nloss: mse", "wrong-type", "no kind of data", ""),
        ("data: {npx: a}\nloss: mse", "wrong-type", "no kind of data", "did you mean 'npz'?"),
        ("data: {npz: a, keras: mnist}\nloss: mse", "wrong-type", "two kinds of data", ""),
        ("data: {csv: a.csv}\nloss: mse", "missing-key", "data of the kind `csv` need `y`", "for example {csv: "),
        ("data: {npz: 3}\nloss: mse", "wrong-type", "`npz` must be a file's name", ""),
        ("data: {npz: a, xtest: b}\nloss: mse", "unknown-key", "have no 'xtest'", "did you mean 'x_test'?"),
        ("data: {npz: a, x: 3}\nloss: mse", "wrong-type", "`x` must be the name of an array", ""),
        ("data: {npz: a, x: {i: 3}}\nloss: mse", "wrong-type", "`x.i` must be the name of an array", ""),
        ("data: {keras: minst}\nloss: mse", "unknown-name", "no Keras data set 'minst'", "did you mean 'mnist'?"),
    ],
)
def test_problems(text: str, code: str, message: str, hint: str) -> None:
    settings, problems = read(text)
    assert settings is None
    assert [problem.code for problem in problems] == [code]
    assert message in problems[0].message
    assert hint in problems[0].message + problems[0].hint
    assert problems[0].span is not None


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("", CheckpointEvery(minutes=5)),
        ("checkpoint_every: 500", CheckpointEvery(500)),
        ("checkpoint_every: {minutes: 0.5}", CheckpointEvery(minutes=0.5)),
    ],
)
def test_checkpoint_every(text: str, every: CheckpointEvery) -> None:
    settings, problems = read(GOOD + text)
    assert not problems
    assert settings is not None
    assert settings.checkpoint_every == every


def test_all_problems_are_reported() -> None:
    _, problems = read("data: {npz: 1}\nlos: mse\nepochs: x\noptimizer: Adm\n")
    assert [problem.code for problem in problems].count("unknown-key") == 1
    assert {problem.span.line for problem in problems if problem.span} == {1, 2, 3, 4}


def test_augment_takes_layers_that_change_inputs_alone() -> None:
    assert read(GOOD + "augment: [{RandomTranslation: {height_factor: 0.1, width_factor: 0.1}}]")[1] == []
    assert read(GOOD + "augment: [Flatten]")[1][0].code == "not-yet"


def test_reading_needs_no_tensorflow() -> None:
    code = (
        "import sys, kbuild.spec.train as t; from kbuild.spec.reader import read_text as r;"
        "t.read_train(r('data: digits\\nloss: mse\\n', 's'), []);"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
