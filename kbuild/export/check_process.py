"""Loads a SavedModel in a process of its own and writes what it predicts.

Run as a script, isolated: `python -I check_process.py`. It imports NumPy and TensorFlow, nothing of kbuild and none of
Keras' model code, and waits for one line of JSON on stdin: `{"saved_model", "inputs", "outputs", "batch_sizes"}`, the
middle two being .npz files: the inputs by name, and where to write `<batch size>/<output>`. It answers with one line
of JSON on stdout and ends when stdin closes.
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
    np.savez(job["outputs"], **{name: tensor.numpy() for name, tensor in predictions.items()})
    os.write(answers, (json.dumps(described) + "\n").encode())


def _end_with_parent() -> None:
    while sys.stdin.readline():
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
