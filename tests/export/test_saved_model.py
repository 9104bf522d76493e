"""What a SavedModel holds: every weight once, as a variable or, for inference alone, as a constant of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.export import saved_model
from kbuild.export.exporting import check
from kbuild.export.formats import FORMATS, Request
from kbuild.export.parity import make_sample, predict_here
from kbuild.export.saved_model import export_constant, export_saved_model
from kbuild.export.source import Subject
from kbuild.model.backend import import_keras

SHAPES = [(7,), (7,), (7,), (7,), (7, 3), (3,), (5, 7), (7,)]


def a_model(policy: str = "float32") -> Any:
    keras: Any = import_keras()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((5,), name="given")
        hidden = keras.layers.BatchNormalization()(keras.layers.Dense(7, activation="relu")(inputs))
        return keras.Model(inputs, keras.layers.Dense(3, name="out", dtype="float32")(hidden))
    finally:
        keras.config.set_dtype_policy("float32")


def stored(path: Path) -> list[tuple[int, ...]]:
    """The shapes of the numbers in the variables file."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    return [tuple(shape) for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE")]


def constants(path: Path) -> int:
    """How many float constants of 20 numbers and more the graph and its functions hold."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [*proto.node, *(node for function in proto.library.function for node in function.node_def)]
    tensors = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    return sum(len(one.tensor_content) >= 80 for one in tensors)


def test_every_weight_once(tmp_path: Path) -> None:
    import tensorflow as tf

    model = a_model()
    path = export_saved_model(model, tmp_path / "saved_model", {"out": ("a", "b", "c")})
    assert sorted(stored(path)) == sorted(SHAPES)
    loaded = tf.saved_model.load(str(path))
    assert [tuple(variable.shape) for variable in loaded.variables] == [tuple(v.shape) for v in model.variables]
    assert len(loaded.trainable_variables) == 6


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_weights_as_constants(tmp_path: Path, policy: str) -> None:
    """Once too, though two signatures use them; proven like any export."""
    model, path, classes = a_model(policy), tmp_path / "saved_model", {"out": ("a", "b", "c")}
    FORMATS["savedmodel"].write(Request(model, path, classes=classes, folded=True))
    assert stored(path) == []
    assert constants(path) == 2
    rows = {"given": np.random.default_rng(0).normal(size=(9, 5)).astype("float32")}
    subject = Subject(model, None, policy, rows, rows, "", tmp_path, classes)
    sample = make_sample(model, rows)
    assert check(FORMATS["savedmodel"], path, subject, sample, predict_here(model, sample))["problems"] == []


def test_what_cannot_be_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a graph can hold, and the table of a StringLookup."""
    keras: Any = import_keras()
    monkeypatch.setattr(saved_model, "MOST_CONSTANT", 100)
    assert sorted(stored(export_constant(a_model(), tmp_path / "large"))) == sorted(SHAPES)
    monkeypatch.undo()
    inputs = keras.Input((1,), name="word", dtype="string")
    onehot = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(onehot))
    path = export_constant(model, tmp_path / "words")
    assert sorted(stored(path)) == [(2,), (3, 2)]
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    words = tf.constant([["a"], ["b"], ["c"]])
    np.testing.assert_allclose(signature(words)["out"], model(words), rtol=1e-6)
