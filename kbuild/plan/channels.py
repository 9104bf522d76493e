"""Which channel of a normalization each entry of a tensor belongs to, followed through layers that only rearrange.

A normalization multiplies and adds one number per channel. Whether a weight layer can do that in its stead depends on
where the entries of a channel stand when the tensor reaches it: behind a Flatten of (4, 4, 8) the channel of feature j
is j % 8, and a Dense can give every feature the numbers of its channel; behind a Flatten of (8, 4, 4), channels first
and taken as it stands, the channel is j // 16.

`Channels` says it by one rule: entry j along `axis` belongs to channel (j // inner) % count. Shapes have the batch
axis first and None where a size is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from kbuild.catalog.layers import complete
from kbuild.plan.plan import PlannedLayer, Shape


@dataclass(frozen=True)
class Channels:
    """Entry j along `axis` belongs to channel (j // inner) % count; None for `axis`: j counts all entries in order."""

    axis: int | None
    count: int
    inner: int = 1

    def along(self, axis: int, shape: Shape) -> int | None:
        """`inner` where the channel is decided by the index along this one axis of a tensor of `shape`; else None.

        >>> Channels(None, 8).along(1, (None, 128)), Channels(None, 8, 16).along(1, (None, 8, 4, 4))
        (1, 1)
        >>> Channels(3, 8).along(1, (None, 4, 4, 8)) is None
        True
        """
        if self.axis == axis:
            return self.inner
        if self.count == 1:
            return 1
        flat = self.flat(shape)
        if flat is None or not _known(shape[1:]):
            return None
        behind, size, before = _sizes(shape[axis + 1 :]), shape[axis] or 1, _sizes(shape[1:axis])
        inner, rest = divmod(flat.inner, behind)
        return inner if rest == 0 and inner and (size % (inner * self.count) == 0 or before == 1) else None

    def flat(self, shape: Shape) -> Channels | None:
        """The same, counted over all entries; None where a size it needs is free."""
        if self.axis is None:
            return self
        behind = shape[self.axis + 1 :]
        return Channels(None, self.count, self.inner * _sizes(behind)) if _known(behind) else None

    def of(self, size: int) -> list[int]:
        """The channel of every entry along the axis.

        >>> Channels(1, 2, 3).of(12)
        [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]
        """
        return [(index // self.inner) % self.count for index in range(size)]


def _known(sizes: Shape) -> bool:
    return None not in sizes


def _sizes(sizes: Shape) -> int:
    return prod(size for size in sizes if size is not None)


def channel_axis(layer: PlannedLayer, shape: Shape) -> int:
    """The axis of the channels of a tensor of `shape`, as this layer takes it."""
    return 1 if layer.config.get("data_format") == "channels_first" and len(shape) > 2 else len(shape) - 1


#: Layers that average or copy whole channels: what is done to each channel alone may be done before or behind them.
_AVERAGES = ("AveragePooling", "GlobalAveragePooling", "AdaptiveAveragePooling")
_LARGEST = ("MaxPooling", "GlobalMaxPooling", "AdaptiveMaxPooling")
_COPIES = ("Cropping", "UpSampling")


def is_identity(layer: PlannedLayer) -> bool:
    """Whether a layer does nothing at inference: dropout and noise, Identity, a linear activation."""
    if layer.cls == "Activation":
        return layer.config.get("activation") in (None, "linear")
    return layer.cls == "Identity" or is_dropout(layer)


def is_dropout(layer: PlannedLayer) -> bool:
    """Whether a layer is dropout or noise: the identity at inference."""
    return layer.cls.endswith(("Dropout", "Dropout1D", "Dropout2D", "Dropout3D")) or layer.cls == "GaussianNoise"


def commutes(layer: PlannedLayer, positive: bool) -> str | None:
    """Whether a scale and a shift per channel can pass a layer: an empty string where they can, else the reason.

    None for a layer through which nothing ever passes: an activation, a merge, an input.

    Args:
        positive: whether the scale is positive whatever training does (BN without gamma).
    """
    if is_identity(layer) or layer.cls in ("Flatten", "Reshape", "Permute", "RepeatVector"):
        return ""
    if layer.cls.startswith((*_AVERAGES, *_COPIES)):
        smooth = layer.config.get("interpolation") not in (None, "nearest", "bilinear")
        return f"{layer.name} interpolates beyond its neighbours" if smooth else ""
    if layer.cls.startswith(_LARGEST):
        return "" if positive else f"{layer.name} takes the largest, which a negative gamma turns round"
    if layer.cls.startswith("ZeroPadding"):
        return f"{layer.name} pads with zeros, where the shift does not hold"
    return None


def forward(channels: Channels, layer: PlannedLayer, given: Shape, made: Shape) -> Channels | None:
    """The channels of a layer's output, from those of its input; None where they cannot be told apart.

    Args:
        given, made: the shapes of its input and output.
    """
    return _through(channels, layer, given, made, back=False)


def backward(channels: Channels, layer: PlannedLayer, given: Shape, made: Shape) -> Channels | None:
    """The channels that a layer's input must have for its output to have these; None where there are none."""
    return _through(channels, layer, given, made, back=True)


def _through(channels: Channels, layer: PlannedLayer, given: Shape, made: Shape, back: bool) -> Channels | None:
    start = made if back else given
    if is_identity(layer):
        return channels
    if layer.cls == "Flatten" and layer.config.get("data_format") == "channels_first" and len(given) > 2:
        dims = (*range(2, len(given)), 1)  # Keras moves the channels behind the positions before it flattens
        middle = (given[0], *(given[axis] for axis in dims))
        moved = channels if back else _moved(channels, given, dims, back)
        reshaped = None if moved is None else moved.flat(made if back else middle)
        return _moved(reshaped, middle, dims, back) if back and reshaped is not None else reshaped
    if layer.cls in ("Flatten", "Reshape"):
        return channels.flat(start) if _known(given[1:]) and _known(made[1:]) else None
    if layer.cls == "Permute":
        return _moved(channels, start, tuple(complete(layer.cls, layer.config)["dims"]), back)
    axes = (1, 2) if layer.cls == "RepeatVector" else (channel_axis(layer, given), channel_axis(layer, given))
    if layer.cls.startswith("Global") and not layer.config.get("keepdims"):
        axes = (axes[0], 1)
    before, behind = reversed(axes) if back else axes
    inner = channels.along(before, start)
    return None if inner is None else Channels(behind, channels.count, inner)


def _moved(channels: Channels, shape: Shape, dims: tuple[int, ...], back: bool) -> Channels | None:
    """Through a transpose whose output axis k + 1 is the input axis dims[k]; `shape` is that of where we stand."""
    for axis in range(1, len(shape)):
        inner = channels.along(axis, shape)
        if inner is not None:
            return Channels(dims[axis - 1] if back else dims.index(axis) + 1, channels.count, inner)
    return None
