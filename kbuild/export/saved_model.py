"""Keras model → SavedModel with named inputs and outputs and a free batch size."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from kbuild.export.classes import SIGNATURE as NAMES
from kbuild.export.classes import labels, name_classes
from kbuild.files import naming_failures, replace_directory
from kbuild.model.backend import import_keras
from kbuild.train.classes import FILE, to_json

#: The signature that servers call when they are told nothing else.
SIGNATURE = "serving_default"


#: Bytes of weights that go into a graph as constants: a SavedModel's graph is one message of at most 2 GiB.
MOST_CONSTANT = 2**30


def export_saved_model(model: Any, path: Path, classes: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Write `model` in inference mode to the directory `path`, whole or not at all.

    The signature `serving_default` takes one tensor per input layer, of the layer's shape and dtype with a free batch
    axis, and gives one per output layer; the names are the layers' (see `input_names`). Names of classes, by output,
    go in as `kbuild.export.classes` says.

    Raises:
        TrainingError: the directory cannot be written.
    """
    keras: Any = import_keras()
    archive = keras.export.ExportArchive()
    archive.track(model)
    # Keras stores its variables and, beside them, those that the signatures capture: every weight twice (issue 23553).
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        archive.add_variable_collection(name, [variable.value for variable in getattr(model, name)])
    for name, function in _signatures(model, classes or {}, nullcontext).items():
        archive.add_endpoint(name, function)
    return _write(lambda folder: archive.write_out(folder, verbose=False), path, classes or {})


def export_constant(model: Any, path: Path, classes: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """The same for inference alone: weights are constants of the graph, which TensorFlow lays out for its kernels once.

    A model of more than MOST_CONSTANT bytes, or one with lookup tables, is written by `export_saved_model`.

    Raises:
        TrainingError: the directory cannot be written.
    """
    keras: Any = import_keras()
    import tensorflow as tf

    values = [variable.numpy() for variable in model.variables]
    if sum(value.nbytes for value in values) > MOST_CONSTANT:
        return export_saved_model(model, path, classes)

    def constants() -> Any:
        return keras.StatelessScope(list(zip(model.variables, map(tf.constant, values), strict=True)))

    functions = _signatures(model, classes or {}, constants)
    signatures = {name: _concrete(function, model) for name, function in functions.items()}
    if signatures[SIGNATURE].captured_inputs:
        return export_saved_model(model, path, classes)
    return _write(lambda folder: tf.saved_model.save(tf.Module(), folder, signatures), path, classes or {})


def _signatures(
    model: Any, classes: Mapping[str, tuple[str, ...]], scope: Callable[[], AbstractContextManager[Any]]
) -> dict[str, Any]:
    """Name → traced function of inputs and outputs by name, the model called in `scope`."""
    import tensorflow as tf

    names, outputs, told = input_names(model), output_names(model), labels(model, classes)

    def serve(**inputs: Any) -> dict[str, Any]:
        x = [inputs[name] for name in names]
        with scope():
            y = model(x[0] if len(x) == 1 else x, training=False)
        return dict(zip(outputs, y if isinstance(y, (list, tuple)) else [y], strict=False))

    functions = {SIGNATURE: tf.function(serve, autograph=False)}
    served = _concrete(functions[SIGNATURE], model)
    if told:
        functions[NAMES] = tf.function(lambda **inputs: name_classes(served(**inputs), told), autograph=False)
        _concrete(functions[NAMES], model)
    return functions


def _concrete(function: Any, model: Any) -> Any:
    import tensorflow as tf

    return function.get_concrete_function(
        **{
            name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
            for name, tensor in zip(input_names(model), model.inputs, strict=False)
        }
    )


def _write(save: Callable[[str], Any], path: Path, classes: Mapping[str, tuple[str, ...]]) -> Path:
    """Save to a temporary directory, add the names of classes, rename."""
    import tensorflow as tf

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save(str(temporary))
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
