"""Shape rules of layers over spatial axes: convolutions, pooling, padding, cropping, resizing."""

from __future__ import annotations

from dataclasses import replace

from kbuild.catalog.dims import Call, Shape, pair


def _strided(call: Call, kernel: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]) -> Shape:
    """The spatial sizes behind a sliding window, padding valid, same or causal."""
    sizes: list[int | None] = []
    for size, k, stride, d in zip(call.spatial(), kernel, strides, dilation, strict=True):
        if size is None:
            sizes.append(None)
        elif call.args["padding"] == "valid":
            window = d * (k - 1) + 1
            if size < window:
                what = f"window of {window}" if d == 1 else f"window of {window} (size {k}, dilation {d})"
                hint = "use padding: same, or a smaller window"
                call.fail(f"slides a {what} over an axis of {size}. Received: {call.shape}", hint)
            sizes.append((size - window) // stride + 1)
        else:
            sizes.append((size - 1) // stride + 1)
    return tuple(sizes)


def _convolved(call: Call, filters: int) -> Shape:
    call.need_rank(call.rank + 2)
    call.channels()
    strides, dilation = call.per_axis("strides"), call.per_axis("dilation_rate")
    spatial = _strided(call, call.per_axis("kernel_size"), strides, dilation)
    return call.with_spatial(spatial, filters)


def convolution(call: Call) -> Shape:
    """Conv1D, Conv2D, Conv3D: (batch, *spatial, channels) → (batch, *spatial', filters)."""
    filters, groups = call.args["filters"], call.args["groups"]
    call.need_rank(call.rank + 2)
    if filters % groups:
        call.fail(f"has {filters} filters, which groups={groups} does not divide")
    if call.channels() % groups:
        call.fail(f"has groups={groups}, which does not divide the channels of its input. Received: {call.shape}")
    if max(call.per_axis("strides")) > 1 and max(call.per_axis("dilation_rate")) > 1:
        call.fail("cannot have strides > 1 and dilation_rate > 1 at once")
    return _convolved(call, filters)


def depthwise(call: Call) -> Shape:
    call.need_rank(call.rank + 2)
    return _convolved(call, call.args["depth_multiplier"] * call.channels())


def separable(call: Call) -> Shape:
    return _convolved(call, call.args["filters"])


def transposed(call: Call) -> Shape:
    """Conv1DTranspose, ...: strides multiply the spatial sizes.

    Without `output_padding`, padding same gives ``size * stride``, valid ``(size - 1) * stride + max(window, stride)``.
    """
    call.need_rank(call.rank + 2)
    call.channels()
    strides, dilation = call.per_axis("strides"), call.per_axis("dilation_rate")
    if max(strides) > 1 and max(dilation) > 1:
        call.fail("cannot have strides > 1 and dilation_rate > 1 at once")
    extra: tuple[int | None, ...] = (None,) * call.rank
    if call.args["output_padding"] is not None:
        extra = call.per_axis("output_padding")
        if any(more >= stride for more, stride in zip(call.per_axis("output_padding"), strides, strict=True)):
            call.fail(f"needs output_padding to be less than strides. Received: {list(extra)} and {list(strides)}")
    sizes: list[int | None] = []
    for size, k, stride, d, more in zip(
        call.spatial(), call.per_axis("kernel_size"), strides, dilation, extra, strict=True
    ):
        window = (k - 1) * d + 1
        if size is None:
            sizes.append(None)
        elif call.args["padding"] == "valid":
            more = max(window, stride) - window if more is None else more
            sizes.append((size - 1) * stride + window + more)
        else:
            sizes.append(size * stride if more is None else (size - 1) * stride + window % 2 + more)
    return call.with_spatial(sizes, call.args["filters"])


def pooling(call: Call) -> Shape:
    """MaxPooling and AveragePooling: the stride defaults to the pool size."""
    call.need_rank(call.rank + 2)
    pool = call.per_axis("pool_size")
    strides = pool if call.args["strides"] is None else call.per_axis("strides")
    return call.with_spatial(_strided(call, pool, strides, (1,) * call.rank), call.shape[call.channel_axis])


def global_pooling(call: Call) -> Shape:
    """(batch, *spatial, channels) → (batch, channels), or ones for the spatial axes under ``keepdims``."""
    call.need_rank(call.rank + 2)
    channels = call.shape[call.channel_axis]
    return call.with_spatial((1,) * call.rank if call.args["keepdims"] else (), channels)


def adaptive_pooling(call: Call) -> Shape:
    call.need_rank(call.rank + 2)
    return call.with_spatial(call.per_axis("output_size"), call.shape[call.channel_axis])


def _pairs(call: Call, name: str) -> list[tuple[int, int]]:
    """Padding or cropping as (before, after) for each spatial axis."""
    value = call.args[name]
    if call.rank == 1:
        return [pair(value)]
    return [(value, value)] * call.rank if isinstance(value, int) else [pair(entry) for entry in value]


def zero_padding(call: Call) -> Shape:
    call.need_rank(call.rank + 2)
    pairs = _pairs(call, "padding")
    spatial = [None if size is None else size + sum(both) for size, both in zip(call.spatial(), pairs, strict=True)]
    return call.with_spatial(spatial, call.shape[call.channel_axis])


def cropping(call: Call) -> Shape:
    call.need_rank(call.rank + 2)
    spatial: list[int | None] = []
    for size, both in zip(call.spatial(), _pairs(call, "cropping"), strict=True):
        if size is not None and sum(both) >= size:
            call.fail(f"crops {both[0]} + {both[1]} from an axis of {size}. Received: {call.shape}")
        spatial.append(None if size is None else size - sum(both))
    return call.with_spatial(spatial, call.shape[call.channel_axis])


def up_sampling(call: Call) -> Shape:
    call.need_rank(call.rank + 2)
    factors = call.per_axis("size")
    spatial = [None if size is None else size * factor for size, factor in zip(call.spatial(), factors, strict=True)]
    return call.with_spatial(spatial, call.shape[call.channel_axis])


def resized(call: Call) -> Shape:
    """Resizing, CenterCrop, RandomCrop: height and width are the arguments'."""
    call.need_rank(4)
    return call.with_spatial((call.args["height"], call.args["width"]), call.shape[call.channel_axis])


def images(call: Call) -> Shape:
    """Augmentation layers: a batch of images keeps its shape.

    Keras takes rank 3 for one image without a batch axis; behind an input of a model that axis is always there.
    """
    return call.need_rank(4)


def color_images(call: Call) -> Shape:
    """Augmentation that converts between color spaces: three channels."""
    shape = call.need_rank(4)
    if shape[call.channel_axis] not in (3, None):
        call.fail(f"needs images of 3 channels. Received: {shape}")
    return shape


def conv_step(call: Call) -> Call:
    """The convolution a ConvLSTM applies to its input at each step."""
    if len(call.shape) != call.rank + 3:
        call.fail(f"needs an input of rank {call.rank + 3} (batch, steps, and an image). Received: {call.shape}")
    return replace(call, inputs=((call.shape[0], *call.shape[2:]),))


def conv_lstm(call: Call) -> Shape:
    """ConvLSTM: the last state, or every state under return_sequences."""
    step = conv_step(call)
    if None in step.spatial():
        call.fail(f"needs defined spatial sizes. Received: {call.shape}")
    batch, *rest = _convolved(step, call.args["filters"])
    return (batch, call.shape[1], *rest) if call.args["return_sequences"] else (batch, *rest)
