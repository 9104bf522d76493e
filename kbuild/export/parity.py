"""Does the exported model predict what the model predicts? Asked in a clean process, answered with figures."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import ParityError
from kbuild.export.classes import class_problems
from kbuild.files import write_json
from kbuild.model.backend import import_keras

#: dtype of the model's computation, or quantization → (relative to the largest prediction, absolute) tolerance.
TOLERANCES = {
    "float32": (5e-5, 1e-6),
    "float64": (5e-5, 1e-6),
    "mixed_bfloat16": (5e-2, 1e-2),
    "mixed_float16": (1e-2, 1e-3),
    "float16": (5e-3, 1e-3),
    "dynamic": (0.05, 0.01),
    "int8": (0.1, 0.03),
}

#: Predictions are compared at these batch sizes, and at one larger.
BATCH_SIZES = (1, 7)
LARGEST = 256

#: Seconds the checking process may take for its job.
TIMEOUT = 600


class CheckProcess:
    """A Python process that loads one export and predicts with it; the default script is for a SavedModel.

    That script imports TensorFlow at once, while the model still trains; `check_runtime.py` is for other formats.
    It is started niced, in a session of its own (Ctrl-C on the terminal is none of its business), and ends when this
    process does, for its stdin closes then.
    """

    def __init__(self, script: str = "check_process.py") -> None:
        path = Path(__file__).with_name(script)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        self._process = subprocess.Popen(
            [*_niced(), sys.executable, "-I", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def __enter__(self) -> CheckProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send the job, wait for the answer.

        Raises:
            ParityError: the process failed; the message holds the end of its stderr.
        """
        assert self._process.stdin and self._process.stdout
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(TIMEOUT, kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if not answer.strip():
            self._process.wait()
            if late.is_set():
                raise ParityError(f"the exported model did not answer within {TIMEOUT} s")
            raise ParityError(f"the exported model cannot be loaded in a clean process:\n{self._tail()}")
        return dict(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()

    def _tail(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return "\n".join(f"  {line}" for line in lines[-12:]) or f"  it ended with code {self._process.returncode}"


def _niced() -> list[str]:
    from shutil import which

    nice = which("nice")
    return [nice, "-n", "19"] if nice else []


def check_parity(
    model: Any,
    saved_model: Path,
    inputs: Mapping[str, np.ndarray],
    process: CheckProcess,
    report: Path,
    precision: str = "float32",
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """Compare the predictions of a SavedModel, loaded in `process`, with the model's.

    Args:
        inputs: input layer → real rows; the first LARGEST are used.
        report: where the figures go (`parity.json`).
        precision: the model's dtype policy; it decides the tolerance.
        classes: output → names of its classes.

    Returns:
        Per output the largest absolute and relative difference over all batch sizes, the tolerance, and the share of
        rows whose largest entry is the same.

    Raises:
        ParityError: names differ, or predictions beyond the tolerance; the report is written all the same.
    """
    from kbuild.export.saved_model import output_names

    sample = make_sample(model, inputs)
    job = {"saved_model": str(saved_model.resolve())}
    described, got = predict_elsewhere(process, job, sample)
    expected, sizes, names = predict_here(model, sample), sample.sizes, output_names(model)
    figures = compare(expected, got, sizes, names, *TOLERANCES[precision])
    problems = signature_problems(described, list(sample.inputs), names)
    problems += class_problems(described, got, model, classes or {})
    problems += [f"{name}: {f['problem']}" for name, f in figures.items() if f["problem"]]
    parity = {
        "ok": not problems,
        "saved_model": saved_model.name,
        "rows": sample.rows,
        "batch_sizes": sizes,
        "signature": {"inputs": described["inputs"], "outputs": described["outputs"]},
        **({"classes": described["class_names"]} if described["class_names"] else {}),
        "outputs": figures,
        "problems": problems,
    }
    write_json(report, parity)
    if problems:
        raise ParityError("the exported model does not predict what the model predicts: " + "; ".join(problems))
    return parity


@dataclass(frozen=True)
class Sample:
    """Rows to compare predictions on.

    Attributes:
        inputs: the signature's name of each input → its rows, in the order of the model's inputs.
        sizes: batch sizes to predict at; the last is all rows.
    """

    inputs: dict[str, np.ndarray]
    sizes: list[int]

    @property
    def rows(self) -> int:
        return self.sizes[-1]


def make_sample(model: Any, inputs: Mapping[str, np.ndarray]) -> Sample:
    """The first LARGEST rows, by the names that a signature has."""
    from kbuild.export.saved_model import input_names

    rows = min(LARGEST, len(next(iter(inputs.values()))))
    cut = {name: _plain(inputs[t.name][:rows]) for name, t in zip(input_names(model), model.inputs, strict=False)}
    return Sample(cut, sorted({*(size for size in BATCH_SIZES if size <= rows), rows}))


def _plain(values: np.ndarray) -> np.ndarray:
    """Values as a file without pickles holds them: texts of one length."""
    return np.ascontiguousarray(values.astype("U") if values.dtype.hasobject else values)


def predict_elsewhere(
    process: CheckProcess, job: dict[str, Any], sample: Sample
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What an artifact says of itself and predicts, `<batch size>/<output>` → array.

    Raises:
        ParityError: it cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="kbuild-parity-") as folder:
        given, written = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        inputs: dict[str, Any] = sample.inputs
        np.savez(given, **inputs)
        described = process.run({**job, "inputs": str(given), "outputs": str(written), "batch_sizes": sample.sizes})
        with np.load(written, allow_pickle=False) as archive:
            return described, {name: archive[name] for name in archive.files}


def predict_here(model: Any, sample: Sample) -> dict[str, np.ndarray]:
    """What the model predicts, `<batch size>/<output>` → array in float64."""
    import_keras()
    import tensorflow as tf

    from kbuild.export.saved_model import output_names

    names = output_names(model)
    function = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)
    exact = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        result = {}
        for size in sample.sizes:
            batch = [
                tf.cast(tf.constant(a[:size]), t.dtype)
                for a, t in zip(sample.inputs.values(), model.inputs, strict=False)
            ]
            outputs = function(batch[0] if len(batch) == 1 else batch)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            for name, tensor in zip(names, outputs, strict=False):
                result[f"{size}/{name}"] = tf.cast(tensor, "float64").numpy()
        return result
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(exact)


def signature_problems(described: dict[str, Any], inputs: list[str], outputs: list[str]) -> list[str]:
    problems = []
    for what, wanted in (("inputs", inputs), ("outputs", outputs)):
        if set(described[what]) != set(wanted):
            found = ", ".join(described[what])
            problems.append(f"its signature has the {what} {found}, the model has {', '.join(wanted)}")
        for name, (shape, _) in described[what].items():
            if shape and shape[0] is not None and what == "inputs":
                problems.append(f"its input {name} has the fixed batch size {shape[0]}")
    if described["kbuild"]:
        problems.append("the checking process imported kbuild")
    return problems


def compare(
    expected: dict[str, np.ndarray],
    got: dict[str, np.ndarray],
    sizes: list[int],
    names: list[str],
    relative: float,
    absolute: float,
) -> dict[str, dict[str, Any]]:
    figures = {}
    for name in names:
        figure: dict[str, Any] = {"problem": None, "max_abs": 0.0, "max_rel": 0.0, "same_top": None}
        for size in sizes:
            a, b = expected[f"{size}/{name}"], got.get(f"{size}/{name}")
            if b is None or a.shape != b.shape:
                shape = "nothing" if b is None else list(b.shape)
                figure["problem"] = f"at batch size {size} it gives {shape}, the model {list(a.shape)}"
                break
            a, b = a.astype("float64"), b.astype("float64")
            scale = float(np.max(np.abs(a))) if a.size else 0.0
            tolerance = absolute + relative * scale
            difference = float(np.max(np.abs(a - b))) if a.size else 0.0
            figure["tolerance"] = tolerance
            figure["max_abs"] = max(figure["max_abs"], difference)
            figure["max_rel"] = max(figure["max_rel"], difference / scale if scale else difference)
            if a.ndim > 1 and a.shape[-1] > 1:
                figure["same_top"] = float(np.mean(a.argmax(-1) == b.argmax(-1)))
            if not difference <= tolerance:
                figure["problem"] = (
                    f"at batch size {size} predictions differ by {difference:.3g}, more than {tolerance:.3g}"
                )
                break
        figures[name] = figure
    return figures
