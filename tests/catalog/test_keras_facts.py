"""keras.json is what the installed Keras says, and what the catalog makes of it resolves in Keras."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kbuild.catalog import facts
from kbuild.catalog.layers import FORBIDDEN, complete, differs, layer_names, lookup
from kbuild.spec.objects import _NOT_AS_STRING

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def keras():
    keras = pytest.importorskip("keras")
    if keras.__version__ != facts.keras_version():
        pytest.skip(f"keras.json is of Keras {facts.keras_version()}, installed is {keras.__version__}")
    return keras


def test_keras_json_is_what_the_generator_writes(keras):
    spec = importlib.util.spec_from_file_location("keras_facts", ROOT / "tools" / "keras_facts.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    written = (ROOT / "kbuild" / "catalog" / "keras.json").read_text(encoding="utf-8")
    assert tool.render(tool.generate()) == written, "run tools/keras_facts.py"


def test_every_public_layer_is_known_or_forbidden(keras):
    public = {name for name in dir(keras.layers) if name[0].isupper() and isinstance(getattr(keras.layers, name), type)}
    assert public == set(facts.known_names("layer")) | (set(FORBIDDEN) & public)


@pytest.mark.parametrize("kind", sorted(facts.SECTIONS))
def test_canonical_names_are_public_classes(keras, kind):
    module = keras
    for part in facts.MODULES[kind].split(".")[1:]:
        module = getattr(module, part)
    for name in facts.names(kind):
        assert isinstance(getattr(module, name), type)


@pytest.mark.parametrize("kind", ["initializer", "regularizer", "constraint", "metric"])
def test_names_that_stay_strings_resolve_in_keras(keras, kind):
    get = getattr(keras, facts.SECTIONS[kind]).get
    needs_scipy = {"STFT", "stft", "STFTInitializer"}
    for name in set(facts.known_names(kind)) - _NOT_AS_STRING - needs_scipy:
        found = facts.signature(kind, name)
        if not found.required:
            resolved = get(name)
            assert resolved is not None
            assert type(resolved).__name__ in (found.name, *found.aliases, "function"), name


def test_no_object_shares_its_canonical_name_with_a_layer():
    for kind in set(facts.SECTIONS) - {"layer"}:
        assert not set(facts.names(kind)) & set(facts.names("layer"))
    assert facts.signature("initializer", "Identity").name == "IdentityInitializer"


def test_activations_resolve_in_keras(keras):
    for name in facts.activations():
        assert callable(keras.activations.get(name))


@pytest.mark.parametrize(
    ("name", "role", "stem", "reads"),
    [
        ("Conv2D", "W", "conv", "one"),
        ("Convolution2DTranspose", "W", "conv", "one"),
        ("DepthwiseConv2D", "W", "depthwise", "one"),
        ("SeparableConv1D", "W", "separable", "one"),
        ("Dense", "W", "dense", "one"),
        ("EinsumDense", "W", "einsum", "one"),
        ("LayerNormalization", "N", "ln", "one"),
        ("PReLU", "A", "prelu", "one"),
        ("GaussianNoise", "D", "noise", "one"),
        ("MaxPool2D", "P", "pool", "one"),
        ("GlobalAveragePooling2D", "P", "gap", "one"),
        ("Add", "merge", "add", "many"),
        ("Flatten", "reshape", "flatten", "one"),
        ("ZeroPadding2D", "padding", "pad", "one"),
        ("Normalization", "preprocessing", "normalization", "one"),
        ("UpSampling2D", "resize", "up", "one"),
        ("LSTM", "other", "lstm", "one"),
        ("MultiHeadAttention", "other", "attention", "args"),
        ("ConvLSTM2D", "other", "conv_lstm2d", "one"),
    ],
)
def test_the_table(name, role, stem, reads):
    found = lookup(name)
    assert (found.role, found.stem, found.reads) == (role, stem, reads)


def test_weight_layers_have_a_kind_and_convolutions_a_rank():
    for name in layer_names():
        found = lookup(name)
        assert (found.kind != "") == (found.role == "W")
        assert found.kind != "conv" or found.rank in (1, 2, 3)
        assert found.role in (
            "W",
            "N",
            "A",
            "D",
            "P",
            "merge",
            "reshape",
            "padding",
            "preprocessing",
            "resize",
            "other",
        )
        assert found.stem.isidentifier()
        assert (found.shape is None) == (found.weights is None)


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_forbidden_classes_are_not_in_the_table(name):
    assert lookup(name) is None


@pytest.mark.parametrize(
    ("cls", "args", "expected"),
    [
        ("Dense", {"units": 3, "activation": None, "use_bias": True}, {"units": 3}),
        ("Dense", {"units": 3, "use_bias": False, "activation": "linear"}, {"units": 3, "use_bias": False}),
        ("Conv2D", {"filters": 1, "kernel_size": 3, "strides": [1, 1]}, {"filters": 1, "kernel_size": 3}),
        ("Conv1D", {"filters": 1, "kernel_size": 3, "strides": [1]}, {"filters": 1, "kernel_size": 3}),
        ("MaxPooling2D", {"pool_size": 2, "strides": None}, {}),
        ("MaxPooling2D", {"pool_size": 2, "strides": 2}, {"strides": 2}),
        ("Flatten", {"data_format": "channels_last"}, {}),
        ("Dense", {"units": 1, "kernel_initializer": {"class_name": "GlorotUniform", "config": {}}}, {"units": 1}),
        ("Dense", {"units": 1, "bias_initializer": "ones"}, {"units": 1, "bias_initializer": "ones"}),
        ("ZeroPadding2D", {"padding": 2}, {"padding": 2}),
        ("BatchNormalization", {"momentum": 0.99, "trainable": True}, {}),
        ("LSTM", {"units": 1, "activation": "linear"}, {"units": 1, "activation": "linear"}),
    ],
)
def test_what_differs_from_the_defaults(cls, args, expected):
    assert differs(cls, args) == expected


def test_complete_fills_defaults_and_keeps_what_is_written():
    full = complete("Conv2D", {"filters": 8, "kernel_size": 3, "strides": 2})
    assert full["strides"] == 2
    assert full["padding"] == "valid"
    assert set(full) == set(lookup("Conv2D").signature.arguments)


def test_the_catalog_imports_no_framework(tmp_path):
    code = """
import sys
import kbuild.catalog.layers as layers, kbuild.catalog.arguments
assert layers.lookup("Conv2D").role == "W"
assert not {"keras", "tensorflow", "numpy"} & set(sys.modules), sorted(sys.modules)
"""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert run.returncode == 0, run.stderr
