"""What kbuild's catalog says of the layer. This module imports no Keras: `kbuild summarize` answers without it."""

from __future__ import annotations

from kbuild.catalog import shapes
from kbuild.catalog.checkers import NOT_NEGATIVE
from kbuild.catalog.custom import CustomLayer
from kbuild.catalog.dims import Call, Weights


def one_per_channel(call: Call) -> Weights:
    """One trained factor for each channel."""
    return Weights(call.size(-1, "channel axis"))


LAYER_SCALE = CustomLayer(
    keras_class="kbuild_example_plugin.layers:LayerScale",
    role="other",
    shape=shapes.same,
    weights=one_per_channel,
    optional={"initial": 1e-4},
    checks={"initial": NOT_NEGATIVE},
    stem="scale",
    says="A learned factor for each channel (Touvron et al. 2021, arXiv:2103.17239).",
)
