"""What a user reads where a layer does not fit its input."""

from __future__ import annotations

import pytest

from kbuild.catalog.layers import ShapeError, lookup

N = None
RANK4 = "{} needs an input of rank 4 (batch, height, width, channels). Received: {}"


@pytest.mark.parametrize(
    ("cls", "args", "inputs", "message"),
    [
        (
            "Conv2D",
            {"filters": 1, "kernel_size": 3},
            [(N, 10)],
            "Conv2D needs an input of rank 4 (batch, height, width, channels). Received: (None, 10)",
        ),
        (
            "Conv2D",
            {"filters": 1, "kernel_size": 3, "data_format": "channels_first"},
            [(N, 10)],
            "Conv2D needs an input of rank 4 (batch, channels, height, width). Received: (None, 10)",
        ),
        (
            "Conv2D",
            {"filters": 1, "kernel_size": 5},
            [(N, 4, 9, 1)],
            "Conv2D slides a window of 5 over an axis of 4. Received: (None, 4, 9, 1)",
        ),
        (
            "Conv1D",
            {"filters": 1, "kernel_size": 3, "dilation_rate": 4},
            [(N, 8, 1)],
            "Conv1D slides a window of 9 (size 3, dilation 4) over an axis of 8. Received: (None, 8, 1)",
        ),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 1, "groups": 2},
            [(N, 4, 4, 3)],
            "Conv2D has groups=2, which does not divide the channels of its input. Received: (None, 4, 4, 3)",
        ),
        (
            "Dense",
            {"units": 3},
            [(N, N)],
            "Dense needs a defined size at the last axis (-1) of its input. Received: (None, None)",
        ),
        ("Add", {}, [(N, 3), (N, 4)], "Add cannot merge unequal shapes. Received: (None, 3) and (None, 4)"),
        ("Add", {}, [(N, 3)], "Add reads 2 or more inputs. Received: 1"),
        ("Dense", {"units": 3}, [(N, 3), (N, 3)], "Dense reads 1 input. Received: 2"),
        (
            "MultiHeadAttention",
            {"num_heads": 1, "key_dim": 2},
            [(N, 3, 2)],
            "MultiHeadAttention reads 2 to 3 inputs. Received: 1",
        ),
        (
            "Concatenate",
            {},
            [(N, 3, 1), (N, 4, 1)],
            "Concatenate needs inputs whose shapes differ at axis -1 only. Received: (None, 3, 1) and (None, 4, 1)",
        ),
        (
            "Reshape",
            {"target_shape": [5]},
            [(N, 4)],
            "Reshape cannot give 4 values the shape [5]. Received: (None, 4)",
        ),
        (
            "Cropping1D",
            {"cropping": 2},
            [(N, 4, 1)],
            "Cropping1D crops 2 + 2 from an axis of 4. Received: (None, 4, 1)",
        ),
        (
            "GroupNormalization",
            {"groups": 3},
            [(N, 4)],
            "GroupNormalization cannot split 4 channels into groups=3. Received: (None, 4)",
        ),
        (
            "Conv2DTranspose",
            {"filters": 1, "kernel_size": 3, "strides": 2, "output_padding": 2},
            [(N, 4, 4, 1)],
            "Conv2DTranspose needs output_padding to be less than strides. Received: [2, 2] and [2, 2]",
        ),
        ("RandomFlip", {}, [(N, 8, 8)], RANK4.format("RandomFlip", "(None, 8, 8)")),
        (
            "RandomHue",
            {"factor": 0.1},
            [(N, 8, 8, 1)],
            "RandomHue needs images of 3 channels. Received: (None, 8, 8, 1)",
        ),
        (
            "EinsumDense",
            {"equation": "ab,bc->ac", "output_shape": 5},
            [(N, 4, 4)],
            "EinsumDense has the equation 'ab,bc->ac', which does not fit the rank of its input. "
            "Received: (None, 4, 4)",
        ),
    ],
)
def test_messages(cls, args, inputs, message):
    with pytest.raises(ShapeError) as caught:
        lookup(cls).shape(args, tuple(inputs))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("cls", "args", "shape", "hint"),
    [
        ("Conv2D", {"filters": 1, "kernel_size": 3}, (N, 10), "before the Flatten"),
        ("Conv2D", {"filters": 1, "kernel_size": 3}, (N, 28, 28), "the channel axis is missing"),
        ("MaxPooling2D", {"pool_size": 3}, (N, 2, 2, 1), "padding: same"),
        ("Dense", {"units": 3}, (N, N), "give it in `input`"),
    ],
)
def test_hints(cls, args, shape, hint):
    with pytest.raises(ShapeError) as caught:
        lookup(cls).shape(args, (shape,))
    assert hint in caught.value.hint


def test_sizes_are_exact_integers():
    big = 2**62
    dense = lookup("Dense")
    assert dense.weights({"units": big}, ((None, big),)).total == big * big + big
    conv = lookup("Conv2D")
    assert conv.shape({"filters": 1, "kernel_size": 1, "strides": 3}, ((None, big, big, 1),))[1] == (big - 1) // 3 + 1
