"""The models of `specs/mnist_mlp.yaml` and `specs/mnist_cnn.yaml`, written by hand the way one writes them in Keras."""

from __future__ import annotations

import keras
from keras import layers

from benchmarks.workers.protocol import LEARNING_RATE


def mlp() -> keras.Model:
    """784-512-256-10, W-N-A-D, dropout 0.2."""
    x = inputs = keras.Input((28, 28))
    x = layers.Flatten()(x)
    x = layers.Rescaling(1 / 255)(x)
    for units in (512, 256):
        x = layers.Dense(units, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def cnn() -> keras.Model:
    """Four convolutions and two Dense, W-N-A, dropout 0.5 behind the first Dense.

    Momentum 0.9, for few steps; see `benchmarks.workers.protocol.SETTINGS`.
    """
    x = inputs = keras.Input((28, 28, 1))
    x = layers.Rescaling(1 / 255)(x)
    for filters in (32, 64):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(10)(x))


MODELS = {"mlp": mlp, "cnn": cnn}


def compiled(name: str, seed: int) -> keras.Model:
    """The model with the loss, optimizer and metric of its spec."""
    keras.utils.set_random_seed(seed)
    model = MODELS[name]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, metrics=["accuracy"])
    return model
