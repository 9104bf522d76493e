"""Loads a .keras, .onnx or .tflite file with its own runtime, in a process of its own, and writes what it predicts.

Run as a script, isolated: `python -I check_runtime.py`. It imports NumPy and the one runtime that the file needs
(Keras, ONNX Runtime, LiteRT), nothing of kbuild. One line of JSON on stdin: `{"runtime", "artifact", "inputs",
"outputs", "batch_sizes", "classes"}`; `inputs` and `outputs` are .npz files: the inputs by name, and where to write
`<batch size>/<output>`; `classes` are the layer classes outside Keras that a .keras file needs, as (folder, module,
name). It answers with one line of JSON on stdout and ends when stdin closes.
"""

import json
import os
import sys
import threading
from typing import Any


def main() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    import numpy as np

    line = sys.stdin.readline()
    if not line.strip():
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads(line)
    classes = _imported(job["classes"]) if job["runtime"] == "keras" else {}
    described, predict = RUNTIMES[job["runtime"]](job["artifact"], classes)
    with np.load(job["inputs"], allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    predictions: dict[str, Any] = {}
    for size in job["batch_sizes"]:
        batch = {
            name: inputs[name][:size] if dtype == "string" else inputs[name][:size].astype(dtype)
            for name, (_, dtype) in described["inputs"].items()
            if name in inputs
        }
        for name, array in predict(batch).items():
            predictions[f"{size}/{name}"] = np.asarray(array, "float64")
    described.setdefault("class_names", _packed(job["artifact"]))
    described["kbuild"] = any(name.split(".")[0] == "kbuild" for name in sys.modules)
    np.savez(job["outputs"], **predictions)
    os.write(answers, (json.dumps(described) + "\n").encode())


def _imported(classes):
    from importlib import import_module

    import keras

    found: dict[str, Any] = {}
    for folder, module, name in classes:
        if folder not in sys.path:
            sys.path.append(folder)  # an isolated Python knows the installation's own folders alone
        cls = getattr(import_module(module), name)
        found |= {name: cls, keras.saving.get_registered_name(cls): cls}
    return found


def _tensors(arrays):
    import tensorflow as tf

    return [tf.constant(array) for array in arrays]


def _keras(path, classes):
    import re

    import keras

    model = keras.saving.load_model(path, custom_objects=classes, compile=False, safe_mode=True)
    names = [re.sub(r"\W", "_", tensor.name, flags=re.ASCII) for tensor in model.inputs]
    outputs = [tensor._keras_history.operation.name for tensor in model.outputs]
    described = {
        "runtime": f"keras {keras.__version__}",
        "inputs": {n: [list(t.shape), str(t.dtype)] for n, t in zip(names, model.inputs, strict=False)},
        "outputs": {n: [list(t.shape), str(t.dtype)] for n, t in zip(outputs, model.outputs, strict=False)},
    }

    def predict(batch):
        given = [batch[name] for name in names]
        if any(values.dtype.kind == "U" for values in given):  # Keras takes texts as tensors alone, and all or none
            given = _tensors(given)
        results = model(given[0] if len(given) == 1 else given, training=False)
        results = results if isinstance(results, (list, tuple)) else [results]
        return {
            name: keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
            for name, y in zip(outputs, results, strict=True)
        }

    return described, predict


def _onnx(path, _):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}

    def about(value):
        shape = [size if isinstance(size, int) else None for size in value.shape]
        return [shape, names.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))]

    outputs = [value.name for value in session.get_outputs()]
    described = {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "class_names": json.loads(session.get_modelmeta().custom_metadata_map.get("classes", "{}")),
        "inputs": {value.name: about(value) for value in session.get_inputs()},
        "outputs": {value.name: about(value) for value in session.get_outputs()},
    }
    return described, lambda batch: dict(zip(outputs, session.run(outputs, batch), strict=True))


def _litert(path, _):
    from importlib.metadata import version

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")

    def about(detail):
        shape = [None if size < 0 else int(size) for size in detail["shape_signature"]]
        return [shape, np.dtype(detail["dtype"]).name]

    described = {
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "inputs": {name: about(detail) for name, detail in runner.get_input_details().items()},
        "outputs": {name: about(detail) for name, detail in runner.get_output_details().items()},
    }
    return described, lambda batch: {name: array.copy() for name, array in runner(**batch).items()}


def _packed(path):
    """`classes.json` of a .keras file, or of the archive behind a .tflite file."""
    import zipfile

    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("classes.json")) if "classes.json" in archive.namelist() else {}


RUNTIMES = {"keras": _keras, "onnx": _onnx, "litert": _litert}


def _end_with_parent() -> None:
    while sys.stdin.readline():
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
