"""The table of layer facts: for every public layer class of Keras its role, name stem and rules.

Arguments and defaults come from `keras.json` (see `facts`); this table adds what Keras does not say of itself.

>>> lookup("Convolution2D").role
'W'
>>> lookup("Conv2D").shape({"filters": 8, "kernel_size": 3}, ((None, 28, 28, 1),))
(None, 26, 26, 8)
>>> lookup("Conv2D").weights({"filters": 8, "kernel_size": 3}, ((None, 28, 28, 1),))
Weights(trainable=80, non_trainable=0)
>>> lookup("Conv2d") is None
True
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kbuild.catalog import facts, operations, shapes, shapes_encoding, shapes_spatial, weights, wrappers
from kbuild.catalog.custom import Custom
from kbuild.catalog.dims import Call, Shape, ShapeError, Weights
from kbuild.catalog.facts import FORBIDDEN

__all__ = ["FORBIDDEN", "LayerFacts", "Shape", "ShapeError", "Weights", "complete", "differs", "layer_names", "lookup"]

ShapeRule = Callable[[Call], "Shape | None"]
WeightRule = Callable[[Call], "Weights | None"]


@dataclass(frozen=True)
class LayerFacts:
    """What kbuild knows of one layer class.

    Attributes:
        name: canonical class name.
        role: "W", "N", "A", "D", "P", or merge, reshape, padding, preprocessing, resize, other.
        stem: stem of automatic layer names.
        reads: how Keras calls it: "one" tensor, "many" (a list of tensors), "args" (a tensor an argument).
        least, most: number of inputs; `most` is None where there is no bound.
        kind: "conv" or "dense" for W, else "".
        rank: number of spatial axes of layers named 1D, 2D, 3D, else 0.
        keras_class: ``module:Class`` of a layer that a package adds; "" for Keras' own, which stand in `keras.layers`.
        package: that package with its version.
    """

    name: str
    role: str
    stem: str
    reads: str = "one"
    least: int = 1
    most: int | None = 1
    kind: str = ""
    rank: int = 0
    shape_rule: ShapeRule | None = None
    weight_rule: WeightRule | None = None
    keras_class: str = ""
    package: str = ""

    @property
    def shape(self) -> Callable[[Mapping[str, Any], tuple[Shape, ...]], Shape | None] | None:
        """The shape rule, `(args, inputs) -> Shape`; None for a class without one.

        The rule raises ShapeError for inputs that do not fit and returns None where only Keras knows the shape.
        Arguments left out have their defaults.
        """
        return None if self.shape_rule is None else self._shape

    @property
    def weights(self) -> Callable[[Mapping[str, Any], tuple[Shape, ...]], Weights | None] | None:
        """The weight rule, `(args, inputs) -> Weights`; None for a class without one. Run the shape rule first."""
        return None if self.weight_rule is None else self._weights

    def _shape(self, args: Mapping[str, Any], inputs: tuple[Shape, ...]) -> Shape | None:
        assert self.shape_rule is not None
        if len(inputs) < self.least or (self.most is not None and len(inputs) > self.most):
            raise ShapeError(f"{self.name} reads {self.reads_text}. Received: {len(inputs)}")
        return self.shape_rule(Call(self.name, self.rank, complete(self.name, args), inputs))

    def _weights(self, args: Mapping[str, Any], inputs: tuple[Shape, ...]) -> Weights | None:
        assert self.weight_rule is not None
        full = complete(self.name, args)
        counted = self.weight_rule(Call(self.name, self.rank, full, inputs))
        return counted.frozen() if counted and full.get("trainable") is False else counted

    @property
    def reads_text(self) -> str:
        """For messages: "1 input", "2 or more inputs", "2 to 3 inputs"."""
        if self.most is None:
            return f"{self.least} or more inputs"
        if self.least == self.most:
            return f"{self.least} input{'s' if self.least > 1 else ''}"
        return f"{self.least} to {self.most} inputs"

    @property
    def signature(self) -> facts.Signature:
        found = facts.signature("layer", self.name)
        assert found is not None
        return found


def _snake(name: str) -> str:
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", re.sub(r"([123])D", r"\1d", name))
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def _row(role: str, shape: ShapeRule | None, count: WeightRule | None, stem: str = "", **more: Any) -> dict[str, Any]:
    return {"role": role, "shape_rule": shape, "weight_rule": count, "stem": stem, **more}


def _each(names: str, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same row for several classes."""
    return dict.fromkeys(names.split(), row)


_SAME, _NONE = shapes.same, weights.none
_MANY: dict[str, Any] = {"reads": "many", "least": 2, "most": None}
_CONV: dict[str, Any] = {"kind": "conv"}
_DENSE: dict[str, Any] = {"kind": "dense"}
_S = shapes_spatial

#: Class name → facts beside keras.json.
_TABLE: dict[str, dict[str, Any]] = {
    # weight layers
    "Dense": _row("W", shapes.dense, weights.dense, "dense", **_DENSE),
    "EinsumDense": _row("W", shapes.einsum_dense, weights.einsum_dense, "einsum", **_DENSE),
    **_each("Conv1D Conv2D Conv3D", _row("W", _S.convolution, weights.convolution, "conv", **_CONV)),
    **_each(
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        _row("W", _S.transposed, weights.transposed, "conv", **_CONV),
    ),
    **_each("DepthwiseConv1D DepthwiseConv2D", _row("W", _S.depthwise, weights.depthwise, "depthwise", **_CONV)),
    **_each("SeparableConv1D SeparableConv2D", _row("W", _S.separable, weights.separable, "separable", **_CONV)),
    # normalization
    "BatchNormalization": _row("N", shapes.batch_normalization, weights.batch_normalization, "bn"),
    "LayerNormalization": _row("N", shapes.normalized_axes, weights.scale_and_center, "ln"),
    "GroupNormalization": _row("N", shapes.group_normalization, weights.scale_and_center, "gn"),
    "RMSNormalization": _row("N", shapes.normalized_axes, weights.scale_only, "norm"),
    "UnitNormalization": _row("N", shapes.along_axis, _NONE, "norm"),
    # activation
    **_each("Activation", _row("A", _SAME, _NONE, "act")),
    **_each("ReLU ELU", _row("A", _SAME, _NONE)),
    "LeakyReLU": _row("A", _SAME, _NONE, "leaky_relu"),
    "PReLU": _row("A", shapes.prelu, weights.prelu, "prelu"),
    "Softmax": _row("A", shapes.along_axis, _NONE),
    # dropout and noise
    **_each("Dropout AlphaDropout GaussianDropout", _row("D", _SAME, _NONE, "drop")),
    **_each("SpatialDropout1D SpatialDropout2D SpatialDropout3D", _row("D", shapes.same_of_rank, _NONE, "drop")),
    "GaussianNoise": _row("D", _SAME, _NONE, "noise"),
    # pooling
    **_each(
        "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D",
        _row("P", _S.pooling, _NONE, "pool"),
    ),
    **_each(
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D",
        _row("P", _S.global_pooling, _NONE, "gap"),
    ),
    **_each("GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D", _row("P", _S.global_pooling, _NONE, "gmp")),
    **_each(
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
        "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D",
        _row("P", _S.adaptive_pooling, _NONE, "pool"),
    ),
    # merging
    **_each("Add Multiply Average Maximum Minimum", _row("merge", shapes.merge, _NONE, **_MANY)),
    "Subtract": _row("merge", shapes.merge, _NONE, **{**_MANY, "most": 2}),
    "Concatenate": _row("merge", shapes.concatenate, _NONE, "concat", **_MANY),
    "Dot": _row("merge", shapes.dot, _NONE, **{**_MANY, "most": 2}),
    # operations of keras.ops
    **{
        name: _row("other", operations.shape, _NONE, operation.function, most=2)
        for name, operation in operations.OPERATIONS.items()
    },
    # reshaping
    "Flatten": _row("reshape", shapes.flatten, _NONE),
    "Reshape": _row("reshape", shapes.reshape, _NONE),
    "Permute": _row("reshape", shapes.permute, _NONE),
    "RepeatVector": _row("reshape", shapes.repeat_vector, _NONE, "repeat"),
    "Identity": _row("reshape", _SAME, _NONE),
    **_each("ZeroPadding1D ZeroPadding2D ZeroPadding3D", _row("padding", _S.zero_padding, _NONE, "pad")),
    **_each("Cropping1D Cropping2D Cropping3D", _row("padding", _S.cropping, _NONE, "crop")),
    **_each("UpSampling1D UpSampling2D UpSampling3D", _row("resize", _S.up_sampling, _NONE, "up")),
    # preprocessing and augmentation
    "Rescaling": _row("preprocessing", _SAME, _NONE),
    "Normalization": _row("preprocessing", shapes.feature_normalization, weights.feature_normalization),
    **_each("Resizing CenterCrop RandomCrop", _row("preprocessing", _S.resized, _NONE)),
    **_each(
        "AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization Equalization RandAugment RandomBrightness "
        "RandomColorJitter RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
        "RandomGrayscale RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSharpness "
        "RandomShear RandomTranslation RandomZoom Solarization",
        _row("preprocessing", _S.images, _NONE),
    ),
    **_each(
        "RandomColorDegeneration RandomHue RandomSaturation",
        _row("preprocessing", _S.color_images, _NONE),
    ),
    **_each("CutMix MixUp MaxNumBoundingBoxes", _row("preprocessing", None, None)),
    "CategoryEncoding": _row("preprocessing", shapes_encoding.category_encoding, _NONE),
    "Discretization": _row("preprocessing", shapes_encoding.discretization, _NONE),
    "Hashing": _row("preprocessing", shapes_encoding.hashing, _NONE),
    "HashedCrossing": _row("preprocessing", shapes_encoding.hashed_crossing, _NONE, **{**_MANY, "most": 2}),
    **_each("IntegerLookup StringLookup", _row("preprocessing", shapes_encoding.lookup, _NONE)),
    "TextVectorization": _row("preprocessing", shapes_encoding.text_vectorization, _NONE),
    **_each("MelSpectrogram STFTSpectrogram", _row("preprocessing", None, None)),
    "Pipeline": _row("preprocessing", wrappers.pipeline, wrappers.pipeline_weights),
    # the rest
    **_each("Masking ActivityRegularization", _row("other", _SAME, _NONE)),
    "Embedding": _row("other", shapes.embedding, weights.embedding),
    "ReversibleEmbedding": _row("other", shapes.embedding, weights.reversible_embedding),
    **_each("LSTM GRU SimpleRNN", _row("other", shapes.recurrent, weights.recurrent)),
    **_each("ConvLSTM1D ConvLSTM2D ConvLSTM3D", _row("other", _S.conv_lstm, weights.conv_lstm)),
    **_each("LSTMCell GRUCell SimpleRNNCell StackedRNNCells", _row("other", None, None)),
    "RNN": _row("other", wrappers.rnn, wrappers.rnn_weights),
    "Bidirectional": _row("other", wrappers.bidirectional, wrappers.bidirectional_weights),
    "TimeDistributed": _row("other", wrappers.time_distributed, wrappers.time_distributed_weights),
    "SpectralNormalization": _row("other", wrappers.wrapped, wrappers.spectral_normalization_weights),
    "Attention": _row("other", shapes.attention, weights.attention, **{**_MANY, "most": 3}),
    "AdditiveAttention": _row("other", shapes.attention, weights.additive_attention, **{**_MANY, "most": 3}),
    "MultiHeadAttention": _row(
        "other", shapes.multi_head_attention, weights.multi_head_attention, "attention", reads="args", least=2, most=3
    ),
    "GroupQueryAttention": _row(
        "other",
        shapes.grouped_query_attention,
        weights.grouped_query_attention,
        "attention",
        reads="args",
        least=2,
        most=3,
    ),
}


@cache
def lookup(name: str) -> LayerFacts | None:
    """The facts of a layer class by its name or alias; None for a forbidden or unknown one."""
    signature = facts.signature("layer", name)
    if signature is None:
        return None
    canonical = signature.name
    if found := facts.custom_layer(canonical):
        return _of_package(found)
    # A class newer than this table compiles too, with rules only Keras knows.
    row = dict(_TABLE.get(canonical, _row("other", None, None)))
    row["stem"] = row["stem"] or ("relu" if canonical == "ReLU" else _snake(canonical))
    digits = re.search(r"([123])D(Transpose)?$", canonical)
    return LayerFacts(name=canonical, rank=int(digits[1]) if digits else 0, **row)


def _of_package(found: Custom) -> LayerFacts:
    layer = found.layer
    digits = re.search(r"([123])D(Transpose)?$", found.name)
    return LayerFacts(
        found.name,
        layer.role,
        layer.stem or _snake(found.name),
        layer.reads,
        layer.least,
        layer.most,
        layer.kind,
        int(digits[1]) if digits else 0,
        found.shape if layer.shape else None,
        found.weights if layer.weights else None,
        layer.keras_class,
        found.package,
    )


def layer_names() -> tuple[str, ...]:
    """Canonical names of all layer classes a spec may use: Keras', and those of packages that can be used."""
    return (*facts.names("layer"), *(name for name in facts.custom_layers() if lookup(name) is not None))


def complete(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with Keras' defaults filled in.

    >>> complete("Flatten", {})["data_format"] is None
    True
    """
    signature = facts.signature("layer", name)
    return {**signature.defaults, **args} if signature else dict(args)


def differs(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that differ from Keras' defaults.

    >>> differs("Conv2D", {"filters": 8, "kernel_size": 3, "strides": 1, "kernel_initializer": "GlorotUniform"})
    {'filters': 8, 'kernel_size': 3}
    """
    signature = facts.signature("layer", name)
    if signature is None:
        return dict(args)
    defaults = signature.defaults
    return {
        argument: value
        for argument, value in args.items()
        if argument not in defaults or not _equal(argument, value, defaults[argument])
    }


def _equal(argument: str, value: Any, default: Any) -> bool:
    """Whether Keras takes the two values for the same."""
    if isinstance(value, bool) or isinstance(default, bool):
        return value is default
    if argument.endswith("_initializer"):
        return bool(_initializer(value) == _initializer(default))
    if argument.endswith("activation") and default is None:
        return value is None or bool(value == "linear")
    if argument == "data_format":
        return value is None or bool(value == "channels_last")
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(value, int) and isinstance(default, list):
        return all(each == value or each == [value, value] for each in default)
    if isinstance(value, list) and isinstance(default, int):
        return bool(value) and all(each == default for each in value)
    return bool(value == default)


def _initializer(value: Any) -> Any:
    name = value if isinstance(value, str) else value.get("class_name", "") if isinstance(value, dict) else ""
    signature = facts.signature("initializer", name)
    if signature is None:
        return value
    config = value.get("config", {}) if isinstance(value, dict) else {}
    return signature.name, {key: given for key, given in config.items() if given != signature.defaults.get(key)}
