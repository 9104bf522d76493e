"""Names of classes inside of what is exported, and whether what was loaded elsewhere still has them.

| artifact | where |
| --- | --- |
| SavedModel | `assets.extra/classes.json`; the signature `class_names`: predictions and the names of the top classes |
| `.keras`, LiteRT | `classes.json` in the file, which a zip reader opens; LiteRT calls it an associated file |
| ONNX | the metadata `classes` |

Each holds the JSON {output: [name, ...]}. `assets.extra` is the folder of a SavedModel that TensorFlow leaves to its
users. A client of TensorFlow Serving sees signatures alone, and its REST interface refuses one without inputs; so the
names come with the predictions, while `serving_default` stays numbers only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.spec.classes import ClassNames
from kbuild.train.classes import FILE, Labels, checked, read_run_classes, to_json
from kbuild.train.rundir import is_run

#: The signature of a SavedModel that gives names, and what it appends to the name of an output.
SIGNATURE, SUFFIX = "class_names", "_class_name"

#: Activation of an output with one unit → above what it stands for the second class.
_THRESHOLDS = {"sigmoid": 0.5, "hard_sigmoid": 0.5, "linear": 0.0}


def append(archive: Any, classes: Mapping[str, tuple[str, ...]]) -> None:
    """Put the names into a zip archive (a path or a stream), or behind what a file holds that is none."""
    if classes:
        with zipfile.ZipFile(archive, "a") as opened:
            opened.writestr(zipfile.ZipInfo(FILE), to_json(classes))


def names_of_file(path: Path, outputs: list[str]) -> ClassNames:
    """The names in a saved model, else those of the run in whose folder it lies, for these outputs.

    Raises:
        InputError: they are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            classes = checked(json.loads(archive.read(FILE)), str(path))
    except (KeyError, zipfile.BadZipFile):  # without names; or an .h5 file
        folder = path.resolve().parent.parent
        classes = read_run_classes(folder) if is_run(folder) else {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {FILE} in {path}: {error}") from error
    return {name: classes[name] for name in outputs if name in classes}


def labels(model: Any, classes: Mapping[str, tuple[str, ...]]) -> dict[str, Labels]:
    """How the class of a row is told, for the outputs of shape (batch, units) that have names.

    A single unit is a probability behind a sigmoid and a logit where nothing acts on it; else it is left out.
    """
    found = {}
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        if layer.name in classes and len(tensor.shape) == 2:
            activation = getattr(getattr(layer, "activation", None), "__name__", "")
            if tensor.shape[-1] != 1:
                found[layer.name] = Labels(classes[layer.name])
            elif activation in _THRESHOLDS:
                found[layer.name] = Labels(classes[layer.name], _THRESHOLDS[activation])
    return found


def name_classes(outputs: dict[str, Any], told: Mapping[str, Labels]) -> dict[str, Any]:
    """Predictions of a SavedModel, and the names of the top classes."""
    import tensorflow as tf

    named = dict(outputs)
    for output, one in told.items():
        values = outputs[output]
        number = tf.argmax(values, -1) if one.threshold is None else tf.cast(values[:, 0] > one.threshold, tf.int64)
        named[output + SUFFIX] = tf.gather(tf.constant(one.names), number)
    return named


def class_problems(
    described: dict[str, Any], got: Mapping[str, np.ndarray], model: Any, classes: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """What an artifact that was loaded elsewhere says of its classes against what it should.

    Args:
        described: with "class_names", what the file holds.
        got: what it predicted; `class_names/...` is what the signature of names gave.
    """
    problems = []
    if described["class_names"] != {output: list(names) for output, names in classes.items()}:
        problems.append(f"it names the classes {json.dumps(described['class_names'])}, the model {to_json(classes)}")
    if described.get("signatures") is None:
        return problems
    for output, one in labels(model, classes).items():
        values, said = got.get(f"{SIGNATURE}/{output}"), got.get(f"{SIGNATURE}/{output}{SUFFIX}")
        if values is None or said is None:
            problems.append(f"its signature {SIGNATURE} does not name the classes of {output}")
        elif [one.names[number] for number in one.numbers(values)] != said.tolist():
            problems.append(f"its signature {SIGNATURE} gives other names for {output} than those of the top classes")
    return problems
