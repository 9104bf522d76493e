"""Loads a SavedModel in a process of its own and writes what it predicts.

Run as a script, isolated: `python -I check_process.py`. It imports NumPy and TensorFlow, nothing of kbuild and none of
Keras' model code, and waits for one line of JSON on stdin: `{"saved_model", "inputs", "outputs", "batch_sizes"}`, the
middle two being .npz files: the inputs by name, and where to write `<batch size>/<output>` and what the signature of
class names gives, `class_names/<output>`. It answers with one line of JSON on stdout and ends when stdin closes.
"""

import json
import os
import sys
import threading


def main() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    import numpy as np
    import tensorflow as tf

    line = sys.stdin.readline()
    if not line.strip():
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads(line)
    loaded = tf.saved_model.load(job["saved_model"])
    signature = loaded.signatures["serving_default"]
    described = {
        "inputs": {n: [list(s.shape), s.dtype.name] for n, s in signature.structured_input_signature[1].items()},
        "outputs": {n: [list(s.shape), s.dtype.name] for n, s in signature.structured_outputs.items()},
        "signatures": sorted(loaded.signatures),
        "class_names": _class_names(job["saved_model"]),
        "kbuild": any(name.split(".")[0] == "kbuild" for name in sys.modules),
        "tensorflow": tf.__version__,
    }
    with np.load(job["inputs"], allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    predictions = {}
    for size in job["batch_sizes"]:
        batch = {
            name: tf.cast(tf.constant(array[:size]), signature.structured_input_signature[1][name].dtype)
            for name, array in inputs.items()
            if name in signature.structured_input_signature[1]
        }
        for name, tensor in signature(**batch).items():
            predictions[f"{size}/{name}"] = tf.cast(tensor, tf.float64 if tensor.dtype.is_floating else tensor.dtype)
    if "class_names" in loaded.signatures:
        named = loaded.signatures["class_names"](**batch)
        predictions |= {f"class_names/{name}": tensor for name, tensor in named.items()}
    np.savez(job["outputs"], **{name: _array(tensor, np) for name, tensor in predictions.items()})
    os.write(answers, (json.dumps(described) + "\n").encode())


def _class_names(folder):
    path = os.path.join(folder, "assets.extra", "classes.json")
    if not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _array(tensor, np):
    if tensor.dtype.name == "string":
        return np.array([name.decode() for name in tensor.numpy()])
    return tensor.numpy().astype("float32") if tensor.dtype.name == "bfloat16" else tensor.numpy()


def _end_with_parent() -> None:
    while sys.stdin.readline():
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
