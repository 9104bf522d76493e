"""Operations of `keras.ops` that stand in functional models as nodes of their own, as `x + 3` or `keras.ops.add(x, 3)`.

A spec writes them by their public names: `ops.add: 3.0` adds a constant to the layer before, `ops.add` with
`from: [a, b]` adds two layers. They have no weights, and no policy moves anything past them.

>>> OPERATIONS["ops.add"].cls
'Add'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kbuild.catalog.dims import Call, Shape
from kbuild.catalog.shapes import merge


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of two arguments.

    Attributes:
        function: its name in `keras.ops`.
        cls: the class that Keras' serialized models name.
    """

    function: str
    cls: str


OPERATIONS: Mapping[str, Operation] = {
    f"ops.{operation.function}": operation
    for operation in (
        Operation("add", "Add"),
        Operation("subtract", "Subtract"),
        Operation("multiply", "Multiply"),
        Operation("true_divide", "TrueDivide"),
    )
}


def shape(call: Call) -> Shape:
    """Two layers, or one layer and one constant: a number in x1 or x2."""
    constants = [name for name in ("x1", "x2") if call.args[name] is not None]
    if len(constants) + len(call.inputs) != 2:
        call.fail(f"takes two: layers, or one layer and a constant x1 or x2. Received: {len(call.inputs)} layers")
    return merge(call) if len(call.inputs) == 2 else call.shape
