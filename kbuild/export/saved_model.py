"""Keras model → SavedModel with named inputs and outputs and a free batch size."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbuild.export.classes import SIGNATURE as NAMES
from kbuild.export.classes import labels, name_classes
from kbuild.model.backend import import_keras
from kbuild.train.classes import FILE, to_json
from kbuild.train.files import naming_failures, replace_directory

#: The signature that servers call when they are told nothing else.
SIGNATURE = "serving_default"


def export_saved_model(model: Any, path: Path, classes: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Write `model` in inference mode to the directory `path`, whole or not at all.

    The signature `serving_default` takes one tensor per input layer, of the layer's shape and dtype with a free batch
    axis, and gives one per output layer; the names are the layers' (see `input_names`). Names of classes, by output,
    go in as `kbuild.export.classes` says.

    Raises:
        TrainingError: the directory cannot be written.
    """
    keras: Any = import_keras()
    import tensorflow as tf

    names, outputs = input_names(model), output_names(model)
    specs = {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(names, model.inputs, strict=False)
    }

    def serve(**inputs: Any) -> dict[str, Any]:
        x = [inputs[name] for name in names]
        y = model(x[0] if len(x) == 1 else x, training=False)
        return dict(zip(outputs, y if isinstance(y, (list, tuple)) else [y], strict=False))

    function = tf.function(serve, autograph=False)
    function.get_concrete_function(**specs)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(SIGNATURE, function)
    told = labels(model, classes or {})
    if told:
        named = tf.function(lambda **inputs: name_classes(function(**inputs), told), autograph=False)
        named.get_concrete_function(**specs)
        archive.add_endpoint(NAMES, named)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            archive.write_out(str(temporary), verbose=False)
            if classes:
                (temporary / "assets.extra").mkdir()
                (temporary / "assets.extra" / FILE).write_text(to_json(classes), encoding="utf-8")
            replace_directory(temporary, path)
        except tf.errors.ResourceExhaustedError as error:
            raise OSError(28, "No space left on device") from error
        except tf.errors.OpError as error:
            raise OSError(5, str(error.message)[:200]) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return path


def input_names(model: Any) -> list[str]:
    """The input layers' names as the signature has them, in the order of the model's inputs.

    A signature's inputs are arguments of a function: TensorFlow writes `_` for what is no letter, digit or underscore.
    """
    return [re.sub(r"\W", "_", tensor.name, flags=re.ASCII) for tensor in model.inputs]


def output_names(model: Any) -> list[str]:
    """The output layers' names, in the order of the model's outputs."""
    return [tensor._keras_history.operation.name for tensor in model.outputs]
