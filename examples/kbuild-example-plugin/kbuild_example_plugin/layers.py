"""The Keras class. This module imports Keras and nothing of kbuild: a saved model is loaded where kbuild is not."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable("kbuild_example_plugin")
class LayerScale(keras.layers.Layer):
    """A learned factor for each channel: (..., channels) → (..., channels).

    Touvron et al. 2021, Going deeper with Image Transformers (arXiv:2103.17239): behind a residual branch, and small at
    first, so that a deep network starts as the identity.

    Args:
        initial: what the factors start with.
    """

    def __init__(self, initial: float = 1e-4, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=start, name="gamma")

    def call(self, inputs):
        return inputs * keras.ops.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}
