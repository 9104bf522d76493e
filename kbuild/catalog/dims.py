"""What shape and weight rules are made of: a `Call` (a layer, its arguments, its inputs) and checks on axes.

Shapes have the batch axis first and None where a size is free: ``(None, 28, 28, 1)``. Rules are pure arithmetic on
Python integers; they raise `ShapeError` where Keras would refuse the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

Shape = tuple[int | None, ...]

#: Axis names in messages, by the number of spatial axes.
_AXES = {
    0: "(batch, features)",
    1: "(batch, steps, channels)",
    2: "(batch, height, width, channels)",
    3: "(batch, depth, height, width, channels)",
}
_AXES_FIRST = {
    1: "(batch, channels, steps)",
    2: "(batch, channels, height, width)",
    3: "(batch, channels, depth, height, width)",
}


class ShapeError(ValueError):
    """A layer does not fit the shape of its input.

    Attributes:
        message: what is wrong, with the shape received.
        hint: what to do about it, may be empty.
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint


class Weights(NamedTuple):
    """Numbers of weights, as Keras' `count_params` counts them (seed generators are state, not weights)."""

    trainable: int = 0
    non_trainable: int = 0

    @property
    def total(self) -> int:
        return self.trainable + self.non_trainable

    def frozen(self) -> Weights:
        """The same weights under ``trainable: false``."""
        return Weights(0, self.total)

    def plus(self, other: Weights) -> Weights:
        return Weights(self.trainable + other.trainable, self.non_trainable + other.non_trainable)


@dataclass(frozen=True, slots=True)
class Call:
    """A layer called on inputs.

    Attributes:
        layer: canonical class name.
        rank: number of spatial axes for layers with a 1D, 2D or 3D in their name, else 0.
        args: complete arguments, defaults filled.
        inputs: the shapes it is called on.
    """

    layer: str
    rank: int
    args: Mapping[str, Any]
    inputs: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """The shape of the only (or first) input."""
        return self.inputs[0]

    @property
    def channels_first(self) -> bool:
        return self.args.get("data_format") == "channels_first"

    def fail(self, message: str, hint: str = "") -> NoReturn:
        raise ShapeError(f"{self.layer} {message}", hint)

    def need_rank(self, *ranks: int) -> Shape:
        """The input shape, if it has one of these ranks (batch axis counted)."""
        shape = self.shape
        if len(shape) not in ranks:
            hint = ""
            if self.rank and len(shape) == 2:
                hint = "the input is a vector; put the layer before the Flatten or pooling"
            elif self.rank and len(shape) == self.rank + 1:
                hint = "the channel axis is missing; a Reshape adds it"
            wanted = " or ".join(str(rank) for rank in ranks)
            self.fail(f"needs an input of rank {wanted}{self._axes(ranks)}. Received: {shape}", hint)
        return shape

    def need_least_rank(self, rank: int) -> Shape:
        if len(self.shape) < rank:
            self.fail(f"needs an input of rank {rank} or more. Received: {self.shape}")
        return self.shape

    def _axes(self, ranks: tuple[int, ...]) -> str:
        names = _AXES_FIRST if self.channels_first else _AXES
        return f" {names[ranks[0] - 2]}" if len(ranks) == 1 and ranks[0] - 2 in names else ""

    def axis(self, axis: int, shape: Shape | None = None) -> int:
        """A possibly negative axis as a position."""
        shape = self.shape if shape is None else shape
        if not -len(shape) <= axis < len(shape):
            self.fail(f"has axis {axis}, which is outside its input. Received: {shape}")
        return axis % len(shape)

    def size(self, axis: int, what: str = "axis") -> int:
        """The size at an axis; ShapeError where it is free, for a weight has that size."""
        size = self.shape[self.axis(axis)]
        if size is None:
            self.fail(
                f"needs a defined size at the {what} ({axis}) of its input. Received: {self.shape}",
                "a weight has that size; give it in `input` or use a layer that fixes it",
            )
        return size

    @property
    def channel_axis(self) -> int:
        return 1 if self.channels_first else -1

    def channels(self) -> int:
        return self.size(self.channel_axis, "channel axis")

    def spatial(self) -> Shape:
        """The spatial sizes of the input."""
        return self.shape[2:] if self.channels_first else self.shape[1:-1]

    def with_spatial(self, spatial: Iterable[int | None], channels: int | None) -> Shape:
        batch = self.shape[0]
        return (batch, channels, *spatial) if self.channels_first else (batch, *spatial, channels)

    def per_axis(self, name: str) -> tuple[int, ...]:
        """A size argument for each spatial axis: one number stands for all."""
        value = self.args[name]
        sizes = (value,) * self.rank if isinstance(value, int) else tuple(value)
        if len(sizes) != self.rank:
            self.fail(f"needs {name} to be one number or {self.rank}. Received: {list(sizes)}")
        return sizes


def product(sizes: Iterable[int]) -> int:
    """The product as an exact integer.

    >>> product([3, 3, 8])
    72
    """
    result = 1
    for size in sizes:
        result *= size
    return result


def pair(value: Any) -> tuple[int, int]:
    """``1`` → ``(1, 1)``; ``[1, 2]`` → ``(1, 2)``."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
