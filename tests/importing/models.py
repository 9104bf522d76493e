"""Small functional and Sequential models, made by hand the way people make them; a builder returns a keras.Model."""

from __future__ import annotations

from kbuild.model.backend import import_keras

keras = import_keras()
layers = keras.layers


def sequential():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ],
        name="chain",
    )


def sequential_without_input():
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.build((None, 5))
    return model


def several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((6,), name="b")
    x = layers.Dense(3, activation="tanh")(a)
    y = layers.Dense(3, activation="tanh")(b)
    z = layers.Concatenate()([y, x])
    z = layers.Dropout(0.4)(layers.Dense(8, activation="relu")(z))
    first, second = layers.Dense(2, name="first")(z), layers.Dense(1, activation="sigmoid", name="second")(z)
    return keras.Model([b, a], [second, first])


def named_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = layers.Dense(3)(layers.Subtract()([a, b]))
    return keras.Model({"a": a, "b": b}, {"logits": layers.Dense(2, name="logits")(x), "score": layers.Dense(1)(x)})


def operations():
    a = keras.Input((4,), name="a")
    x = layers.Dense(3)(a)
    y = layers.Dense(3)(a)
    z = 1.0 - (x + y) * 2.0
    return keras.Model(a, layers.Dense(2)(z / 3 - y))


def dropouts_of_every_kind():
    x = a = keras.Input((16, 3))
    x = layers.SpatialDropout1D(0.1)(layers.Conv1D(4, 3, activation="relu")(x))
    x = layers.GaussianNoise(0.1)(layers.Conv1D(4, 3, activation="relu")(x))
    x = layers.GaussianDropout(0.2)(layers.Conv1D(4, 3, activation="relu")(x))
    x = layers.Dropout(0.2, noise_shape=(None, 1, 4))(layers.Conv1D(4, 3, activation="relu")(x))
    x = layers.Dropout(0.2, seed=7)(layers.Dense(5, activation="selu")(layers.Flatten()(x)))
    x = layers.AlphaDropout(0.2)(layers.Dense(5, activation="selu", kernel_initializer="lecun_normal")(x))
    return keras.Model(a, layers.Dense(2)(x))


def preactivation():
    def unit(x, filters, strides=1):
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        return layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)

    a = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same")(a)
    for _ in range(2):
        x = layers.Add()([unit(unit(x, 8), 8), x])
    shared = layers.Activation("relu")(layers.BatchNormalization()(x))
    y = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(shared)
    x = layers.Add()([unit(y, 16), layers.Conv2D(16, 1, strides=2)(shared)])
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(layers.BatchNormalization()(x)))
    return keras.Model(a, layers.Dense(5, activation="softmax")(x))


def residual_in_branch():
    x = a = keras.Input((8,))
    for _ in range(3):
        y = layers.Dense(8, activation="relu")(x)
        y = layers.Dense(8, activation="relu")(y)
        x = layers.Add()([x, y])
    return keras.Model(a, layers.Dense(2)(x))


def recurrent_with_masks():
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(10, 4, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True),
        merge_mode="sum",
        backward_layer=layers.GRU(3, return_sequences=True, go_backwards=True),
    )(x)
    x = layers.TimeDistributed(layers.Dense(4, activation="relu"))(x)
    return keras.Model(ids, layers.Dense(2)(layers.GRU(3, recurrent_dropout=0.1)(x)))


def transformer():
    a = keras.Input((7, 8))
    x = layers.Dense(8)(a)
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y)
        x = layers.Add()([x, layers.Dropout(0.1)(y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(16, activation="gelu")(y)
        x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(8)(y))])
    return keras.Model(a, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def objects_and_odd_arguments():
    a = keras.Input((12, 12, 3))
    x = layers.Rescaling(1 / 255)(a)
    x = layers.Conv2D(4, (3, 1), strides=(1, 2), kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization(momentum=0.9, scale=False)(x))
    x = layers.SeparableConv2D(4, 3, depthwise_initializer=keras.initializers.VarianceScaling(2.0, seed=3))(x)
    x = layers.GroupNormalization(2)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.MaxPooling2D((2, 1), padding="same")(layers.ZeroPadding2D(((1, 0), (0, 1)))(x))
    x = layers.Dense(4, kernel_constraint="max_norm", dtype="float64", trainable=False)(layers.Flatten()(x))
    return keras.Model(a, layers.Softmax()(layers.Dense(3)(x)))


def without_top():
    x = a = keras.Input((None, None, 3))
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return keras.Model(a, x)


def inner_outputs():
    a = keras.Input((4,))
    x = layers.Dense(4, activation="relu", name="x")(a)
    n = layers.BatchNormalization(name="n")(layers.Dense(4, name="y")(x))
    return keras.Model(a, [n, x, layers.Dense(2, name="z")(layers.ReLU(name="r")(n))])


def gate_and_branches():
    a = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(a)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    paths = [
        layers.Conv2D(4, 1, activation="relu")(x),
        layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Conv2D(4, 1, activation="relu")(x)),
        layers.MaxPooling2D(3, strides=1, padding="same")(x),
    ]
    x = layers.Concatenate()(paths)
    return keras.Model(a, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def numbered_blocks():
    x = a = keras.Input((8,))
    for stage, units in enumerate((8, 8, 16, 16, 16), start=1):
        y = layers.Dense(units, use_bias=False, name=f"stage{stage}_fc1")(x)
        y = layers.ReLU(name=f"stage{stage}_fc1_relu")(layers.BatchNormalization(name=f"stage{stage}_fc1_bn")(y))
        y = layers.ReLU(name=f"stage{stage}_relu")(layers.Dense(2 * units, name=f"stage{stage}_wide")(y))
        x = layers.Dense(units, use_bias=False, name=f"stage{stage}_fc2")(y)
        x = layers.ReLU(name=f"stage{stage}_out")(layers.BatchNormalization(name=f"stage{stage}_norm")(x))
    return keras.Model(a, layers.Dense(2, name="head")(x), name="blocks")


def channels_first():
    a = keras.Input((3, 8, 8))
    x = layers.Conv2D(4, 3, data_format="channels_first", use_bias=False)(a)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.SpatialDropout2D(0.2, data_format="channels_first")(x)
    return keras.Model(a, layers.Dense(2)(layers.GlobalAveragePooling2D(data_format="channels_first")(x)))


MODELS = {
    builder.__name__: builder
    for builder in (
        sequential,
        sequential_without_input,
        several_inputs_and_outputs,
        named_inputs_and_outputs,
        operations,
        dropouts_of_every_kind,
        preactivation,
        residual_in_branch,
        recurrent_with_masks,
        transformer,
        objects_and_odd_arguments,
        without_top,
        inner_outputs,
        gate_and_branches,
        numbered_blocks,
        channels_first,
    )
}
