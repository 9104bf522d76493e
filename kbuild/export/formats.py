"""The formats a model can leave in: how each is written, what it needs, and what loads it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError, WorkError
from kbuild.export.classes import append
from kbuild.export.saved_model import SIGNATURE, export_constant, export_saved_model, input_names, output_names
from kbuild.files import naming_failures, write_file
from kbuild.model.backend import import_keras, silenced
from kbuild.spec.classes import ClassNames
from kbuild.train.classes import to_json

#: What `--quantize` takes → what is done to the weights and activations of a LiteRT model.
QUANTIZATIONS = {
    "dynamic": "weights as 8-bit integers, activations as floats",
    "float16": "weights as 16-bit floats",
    "int8": "weights and activations as 8-bit integers, on ranges seen in training data",
}

#: Rows that show the ranges of activations for `int8`.
CALIBRATION_ROWS = 200

#: The ONNX operator set written; every release of ONNX Runtime since 1.14 reads it.
ONNX_OPSET = 18


@dataclass(frozen=True)
class Request:
    """What a writer is given.

    Attributes:
        model: the Keras model.
        path: the file or directory to write.
        quantize: a key of QUANTIZATIONS, or None.
        calibration: input layer → rows.
        classes: output → names of its classes.
        folded: whether the model is, and so for inference alone.
    """

    model: Any
    path: Path
    quantize: str | None = None
    calibration: Mapping[str, np.ndarray] | None = None
    classes: ClassNames = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Format:
    """A row of the table of formats.

    Attributes:
        name: what `--to` takes.
        stem, suffix: of the file name; `_folded` and the quantization come between.
        runtime: what loads it.
        extra: the extra of kbuild that installs what is missing, or "".
        packages: module → distribution that writing and checking need.
    """

    name: str
    stem: str
    suffix: str
    runtime: str
    extra: str
    packages: Mapping[str, str]
    write: Callable[[Request], None]

    def file_name(self, folded: bool, quantize: str | None = None) -> str:
        """For example `model_folded_int8.tflite`."""
        return self.stem + "_folded" * folded + (f"_{quantize}" if quantize else "") + self.suffix

    def missing(self) -> list[str]:
        """Distributions that are not installed."""
        return [package for module, package in self.packages.items() if find_spec(module) is None]


def check_installed(formats: list[Format]) -> None:
    """All formats can be written and loaded here.

    Raises:
        InputError: what to install.
    """
    lines = []
    for one in formats:
        if one.missing():
            lines.append(f"{one.name} needs {', '.join(one.missing())}: pip install 'kbuild[{one.extra}]'")
    if lines:
        raise InputError("\n".join(lines))


#: Layers that look values up in a hash table, which TensorFlow alone has.
LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")


def check_layers(formats: list[Format], model: Any) -> None:
    """All formats can hold the layers of the model.

    Raises:
        InputError: naming the layers that one of them cannot.
    """
    tables = [layer.name for layer in model.layers if type(layer).__name__ in LOOKUPS]
    without = [one.name for one in formats if one.name in ("onnx", "litert")]
    if tables and without:
        raise InputError(
            f"{' and '.join(without)} cannot hold the vocabularies of {', '.join(tables[:6])}"
            f"{', ...' if len(tables) > 6 else ''}: their runtimes have no tables of values; export savedmodel or keras"
        )


def _write_saved_model(request: Request) -> None:
    write = export_constant if request.folded else export_saved_model
    write(request.model, request.path, request.classes)


def _write_keras(request: Request) -> None:
    temporary = request.path.with_name(f".{os.getpid()}-{request.path.name}")
    with naming_failures(request.path):
        try:
            request.model.save(temporary, include_optimizer=False)
            append(temporary, request.classes)
            os.replace(temporary, request.path)
        finally:
            temporary.unlink(missing_ok=True)


def _function(model: Any) -> Any:
    """The model in inference mode, inputs and outputs by name."""
    import tensorflow as tf

    names, outputs = input_names(model), output_names(model)
    signature = [
        tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(names, model.inputs, strict=True)
    ]

    def serve(*inputs: Any) -> dict[str, Any]:
        y = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return dict(zip(outputs, y if isinstance(y, (list, tuple)) else [y], strict=True))

    return tf.function(serve, input_signature=signature, autograph=False)


def _single_precision(model: Any) -> Any:
    """The model computing in float32, for converters that know no mixed precision; variables are float32 anyway."""
    keras: Any = import_keras()
    if all(layer.dtype_policy.name in ("float32", "float64") for layer in model.layers):
        return model

    def clone(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    single = keras.models.clone_model(model, clone_function=clone)
    single.set_weights(model.get_weights())
    return single


def _write_onnx(request: Request) -> None:
    import_keras()
    model = _single_precision(request.model)
    with silenced():
        import tf2onnx

        function = _function(model)
        try:
            proto, _ = tf2onnx.convert.from_function(
                function, input_signature=function.input_signature, opset=ONNX_OPSET
            )
        except Exception as error:  # whatever the converter raises for an operation it has no rule for
            raise WorkError(f"the model cannot be written as ONNX: {str(error)[:300]}") from error
    for value in (*proto.graph.input, *proto.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes:
            sizes[0].dim_param = "batch"
    if request.classes:
        entry = proto.metadata_props.add()
        entry.key, entry.value = "classes", to_json(request.classes)
    write_file(request.path, lambda stream: stream.write(proto.SerializeToString()))


def _write_litert(request: Request) -> None:
    import tempfile

    import_keras()
    import tensorflow as tf

    # The converter keeps the names of a signature only where it reads a SavedModel.
    with tempfile.TemporaryDirectory(prefix="kbuild-litert-") as folder:
        saved = export_saved_model(_single_precision(request.model), Path(folder) / "saved_model")
        with silenced():
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[SIGNATURE])
            if request.quantize:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if request.quantize == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if request.quantize == "int8":
                converter.representative_dataset = lambda: ((SIGNATURE, row) for row in _rows(request))
            try:
                content = converter.convert()
            except Exception as error:  # whatever the converter raises for an operation it has no rule for
                raise WorkError(f"the model cannot be written for LiteRT: {str(error)[:300]}") from error
    file = io.BytesIO(content)
    append(file, request.classes)
    write_file(request.path, lambda stream: stream.write(file.getvalue()))


def _rows(request: Request) -> Iterator[dict[str, np.ndarray]]:
    """Single examples, by the names of the signature, spread over the data."""
    assert request.calibration is not None
    given = [request.calibration[tensor.name] for tensor in request.model.inputs]
    dtypes = [str(tensor.dtype) for tensor in request.model.inputs]
    names = input_names(request.model)
    for row in np.linspace(0, len(given[0]) - 1, min(CALIBRATION_ROWS, len(given[0]))).astype(int):
        yield {
            name: np.asarray(array[row : row + 1]).astype(dtype)
            for name, array, dtype in zip(names, given, dtypes, strict=True)
        }


#: Every format, by the name `--to` takes.
FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("savedmodel", "saved_model", "", "TensorFlow", "", {}, _write_saved_model),
        Format("keras", "model", ".keras", "Keras", "", {}, _write_keras),
        Format(
            "onnx",
            "model",
            ".onnx",
            "ONNX Runtime",
            "onnx",
            {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
            _write_onnx,
        ),
        Format("litert", "model", ".tflite", "LiteRT", "litert", {"ai_edge_litert": "ai-edge-litert"}, _write_litert),
    )
}
