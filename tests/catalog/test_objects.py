"""Keras objects written in a spec. None of this needs TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kbuild.errors import CODES, Source, Span
from kbuild.spec.objects import read_activation, read_arguments, read_layer_args, read_object
from kbuild.spec.reader import read_text


def read(text):
    return read_text(text, "t.yaml")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("initializer", "he_normal", "he_normal"),
        ("initializer", "HeNormal", "HeNormal"),
        ("initializer", "{he_normal: {seed: 1}}", {"class_name": "HeNormal", "config": {"seed": 1}}),
        ("initializer", "{HeNormal: }", "HeNormal"),
        ("initializer", "Constant", {"class_name": "Constant", "config": {"value": 0.0}}),
        ("initializer", "{Identity: {gain: 2.0}}", {"class_name": "IdentityInitializer", "config": {"gain": 2.0}}),
        ("initializer", "{Constant: 0.5}", {"class_name": "Constant", "config": {"value": 0.5}}),
        ("initializer", "{class_name: Ones, config: {}}", {"class_name": "Ones", "config": {}}),
        ("regularizer", "{L2: 0.0001}", {"class_name": "L2", "config": {"l2": 0.0001}}),
        ("regularizer", "{l1_l2: [0.1, 0.2]}", {"class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.2}}),
        ("regularizer", "l2", "l2"),
        ("constraint", "{max_norm: {max_value: 3}}", {"class_name": "MaxNorm", "config": {"max_value": 3}}),
        ("optimizer", "adam", {"class_name": "Adam", "config": {}}),
        ("optimizer", "rmsprop", {"class_name": "RMSprop", "config": {}}),
        ("optimizer", "{SGD: [0.1, 0.9]}", {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}}),
        (
            "optimizer",
            "{Adam: {learning_rate: {CosineDecay: {initial_learning_rate: 0.1, decay_steps: 100}}}}",
            {
                "class_name": "Adam",
                "config": {
                    "learning_rate": {
                        "class_name": "CosineDecay",
                        "config": {"initial_learning_rate": 0.1, "decay_steps": 100},
                    }
                },
            },
        ),
        ("loss", "mse", {"class_name": "MeanSquaredError", "config": {}}),
        ("loss", "sparse_categorical_crossentropy", {"class_name": "SparseCategoricalCrossentropy", "config": {}}),
        ("loss", "{Huber: {delta: 2.0}}", {"class_name": "Huber", "config": {"delta": 2.0}}),
        ("metric", "accuracy", "accuracy"),
        ("metric", "acc", "acc"),
        ("metric", "mae", "mae"),
        ("metric", "{TopKCategoricalAccuracy: {k: 3}}", {"class_name": "TopKCategoricalAccuracy", "config": {"k": 3}}),
        ("callback", "{EarlyStopping: {patience: 3}}", {"class_name": "EarlyStopping", "config": {"patience": 3}}),
        ("callback", "TerminateOnNaN", {"class_name": "TerminateOnNaN", "config": {}}),
        ("layer", "Flatten", {"class_name": "Flatten", "config": {}}),
        (
            "layer",
            "{Bidirectional: {layer: {LSTM: {units: 3, kernel_regularizer: {L2: 0.1}}}}}",
            {
                "class_name": "Bidirectional",
                "config": {
                    "layer": {
                        "class_name": "LSTM",
                        "config": {"units": 3, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
                    }
                },
            },
        ),
    ],
)
def test_objects(kind, text, expected):
    problems = []
    assert read_object(kind, read(text), problems) == expected
    assert problems == []


@pytest.mark.parametrize(
    ("cls", "text", "expected"),
    [
        ("Dense", "10", {"units": 10}),
        ("Dense", "[10, relu]", {"units": 10, "activation": "relu"}),
        ("Dense", "{units: 10, use_bias: auto}", {"units": 10}),
        ("Dense", "{units: 10, use_bias: false}", {"units": 10, "use_bias": False}),
        ("Dense", "{units: 10, activation: null}", {"units": 10, "activation": None}),
        (
            "Dense",
            "{units: 10, activation: {LeakyReLU: {negative_slope: 0.1}}}",
            {"units": 10, "activation": {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}},
        ),
        (
            "Conv2D",
            "{filters: 1, kernel_size: 3, activation: PReLU}",
            {"filters": 1, "kernel_size": 3, "activation": {"class_name": "PReLU", "config": {}}},
        ),
        ("Conv2D", "[8, 3]", {"filters": 8, "kernel_size": 3}),
        ("Flatten", "null", {}),
        ("Reshape", "[[7, 7, 1]]", {"target_shape": [7, 7, 1]}),
        ("StringLookup", "{vocabulary: [a, b]}", {"vocabulary": ["a", "b"]}),
        ("LSTM", "{units: 2, dropout: 0.1}", {"units": 2, "dropout": 0.1}),
        ("TimeDistributed", "{layer: {Dense: 3}}", {"layer": {"class_name": "Dense", "config": {"units": 3}}}),
        (
            "RNN",
            "{cell: {StackedRNNCells: {cells: [{GRUCell: 3}, {GRUCell: 2}]}}}",
            {
                "cell": {
                    "class_name": "StackedRNNCells",
                    "config": {
                        "cells": [
                            {"class_name": "GRUCell", "config": {"units": 3}},
                            {"class_name": "GRUCell", "config": {"units": 2}},
                        ]
                    },
                }
            },
        ),
    ],
)
def test_layer_arguments(cls, text, expected):
    problems = []
    assert read_layer_args(cls, read(text), problems) == expected
    assert problems == []


def test_no_arguments_and_the_places_of_arguments():
    span = Span(Source("t.yaml", "Flatten"), 1, 1, 7)
    assert read_arguments("Flatten", None, [], span).values == {}
    found = read_arguments("Dense", read("{units: 3, use_bias: false}"), [], span)
    assert found.spans["use_bias"].column == 22
    assert read_arguments("Dense", read("[3]"), [], span).spans["units"].column == 2


@pytest.mark.parametrize(
    ("cls", "text", "code", "message", "hint", "column"),
    [
        ("Dense", "{unit: 3, units: 3}", "unknown-argument", "Dense has no argument 'unit'", "'units'", 2),
        ("Dense", "{activation: relu}", "missing-key", "Dense needs 'units'", "Dense: {units: ...}", 1),
        ("Dense", "{units: 3, name: a}", "unknown-argument", "no argument 'name'", "beside the layer", 12),
        ("Dense", "{units: 3, dropout: 0.1}", "unknown-argument", "no argument 'dropout'", "beside the layer", 12),
        (
            "EinsumDense",
            "{equation: 'ab,bc->ac', output_shape: 3, use_bias: true}",
            "unknown-argument",
            "",
            "bias_",
            42,
        ),
        ("Dense", "{units: x}", "wrong-type", "must be a positive integer, not the string 'x'", "", 9),
        ("Flatten", "[channels_last, 3]", "unknown-argument", "Flatten takes 1 positional argument", "", 17),
        ("Reshape", "[7, 7]", "unknown-argument", "takes 1 positional", "{target_shape: [...]}", 5),
        ("Dense", "{units: 3, activation: Relu}", "unknown-name", "no activation 'Relu'", "'relu'", 24),
        (
            "Dense",
            "{units: 3, activation: {Dropout: 0.1}}",
            "wrong-type",
            "Dropout is no activation layer",
            "PReLU",
            25,
        ),
        ("LSTM", "{units: 3, activation: {LeakyReLU: 0.1}}", "wrong-type", "must be the name of an activation", "", 24),
        ("LSTM", "{units: 3, activation: LeakyReLU}", "unknown-name", "no activation 'LeakyReLU'", "leaky_relu", 24),
        ("Dense", "{units: 3, kernel_initializer: he_norml}", "unknown-name", "no initializer", "'he_normal'", 32),
        ("Dense", "{units: 3, kernel_initializer: 3}", "wrong-type", "expected an initializer", "write a name", 32),
        ("Dense", "{units: 3, kernel_regularizer: {L2: x}}", "wrong-type", "'l2' of L2 must be a number", "", 37),
        (
            "Dense",
            "{units: 3, kernel_regularizer: {L2: {l3: 1}}}",
            "unknown-argument",
            "L2 has no argument 'l3'",
            "l2",
            38,
        ),
        ("TimeDistributed", "{layer: {Lambda: x}}", "forbidden-layer", "Lambda cannot be used", "Python code", 10),
        ("TimeDistributed", "{layer: {class_name: Lambda, config: {}}}", "forbidden-layer", "Lambda", "Python", 22),
        ("Bidirectional", "{layer: {TimeDistributed: {layer: TFSMLayer}}}", "forbidden-layer", "TFSML", "file", 35),
        ("TimeDistributed", "{layer: {Dens: 3}}", "unknown-layer", "there is no layer class 'Dens'", "'Dense'", 10),
        ("StackedRNNCells", "{cells: 3}", "wrong-type", "must be a list of layers", "", 9),
        ("Pipeline", "{layers: [Lambda]}", "forbidden-layer", "Lambda", "", 11),
        ("StringLookup", "{vocabulary: words.txt}", "wrong-type", "must be a list", "no files", 14),
        ("TextVectorization", "{vocabulary: words.txt}", "wrong-type", "must be a list", "no files", 14),
        ("LSTM", "{units: 3, return_state: true}", "wrong-type", "gives one tensor", "", 26),
        ("Rescaling", "{scale: {class_name: __lambda__}}", "wrong-type", "must be a number", "", 9),
    ],
)
def test_problems_in_layers(cls, text, code, message, hint, column):
    problems = []
    assert read_layer_args(cls, read(text), problems) is None
    assert len(problems) == 1, problems
    assert problems[0].code == code
    assert message in problems[0].message
    assert hint in problems[0].hint
    assert problems[0].span.column == column


@pytest.mark.parametrize(
    ("kind", "text", "code", "hint"),
    [
        ("optimizer", "Adan", "unknown-name", "'Adam'"),
        ("optimizer", "{Adam: {lr: 0.1}}", "unknown-argument", ""),
        (
            "optimizer",
            "{Adam: {learning_rate: {CosineDecay: {decay_steps: 3}}}}",
            "missing-key",
            "initial_learning_rate",
        ),
        ("optimizer", "{Adam: {learning_rate: {Cosine: 1}}}", "unknown-name", ""),
        ("optimizer", "{Adam: {learning_rate: -1}}", "wrong-type", ""),
        ("optimizer", "{Adam: {}, SGD: {}}", "wrong-type", "write a name"),
        ("loss", "crossentropy", "unknown-name", ""),
        ("loss", "3", "wrong-type", "write a name"),
        ("metric", "accurate", "unknown-name", "'accuracy'"),
        ("metric", "MeanIoU", "missing-key", "num_classes"),
        ("callback", "LambdaCallback", "unknown-name", "Python function"),
        ("callback", "{LearningRateScheduler: {schedule: x}}", "unknown-name", "learning_rate"),
        ("callback", "{EarlyStopping: {patience: -1}}", "wrong-type", ""),
        ("regularizer", "[L2, 0.1]", "wrong-type", "write a name"),
        ("layer", "{Lambda: {function: x}}", "forbidden-layer", "Python code"),
        ("layer", "InputLayer", "forbidden-layer", "input:"),
    ],
)
def test_problems_in_objects(kind, text, code, hint):
    problems = []
    assert read_object(kind, read(text), problems) is None
    assert [problem.code for problem in problems] == [code]
    assert code in CODES
    assert hint in problems[0].hint
    assert problems[0].span is not None


def test_all_problems_of_a_layer_are_found_at_once():
    problems = []
    text = "{filter: 3, kernel_size: 0, padding: full, kernel_regularizer: L3}"
    assert read_layer_args("Conv2D", read(text), problems) is None
    # `filter` is reported as misspelled; `filters` is not reported as missing beside it.
    assert sorted(problem.code for problem in problems) == [
        "unknown-argument",
        "unknown-name",
        "wrong-type",
        "wrong-type",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relu", "relu"),
        ("PReLU", {"class_name": "PReLU", "config": {}}),
        ("{ELU: 0.5}", {"class_name": "ELU", "config": {"alpha": 0.5}}),
    ],
)
def test_the_activation_of_a_policy(text, expected):
    assert read_activation(read(text), []) == expected


def test_reading_objects_imports_no_framework():
    code = "import sys, kbuild.spec.objects; assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
