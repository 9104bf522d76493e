"""A folded model predicts what the model predicts, and every normalization that can be folded is."""

from __future__ import annotations

import pytest

from kbuild.plan.pipeline import plan_spec
from kbuild.policy import all_orders
from kbuild.spec.load import parse_spec
from tests.export.folding import compare

ORDERS = [str(order) for order in all_orders()]

#: Weight layer → input shape, class and arguments (%s: the padding), paddings, whether the shift reaches every output.
KINDS: dict[str, tuple[list[int], str, tuple[str, ...]]] = {
    "Dense": ([6], "Dense: {units: 5, activation: relu}", ("",)),
    "EinsumDense": ([4, 6], "EinsumDense: {equation: 'abc,cd->abd', output_shape: [4, 5], activation: relu}", ("",)),
    "Conv1D": ([9, 3], "Conv1D: {filters: 4, kernel_size: 3, activation: relu%s}", ("valid", "same", "causal")),
    "Conv2D": ([7, 7, 3], "Conv2D: {filters: 4, kernel_size: 3, activation: relu%s}", ("valid", "same")),
    "Conv3D": ([5, 5, 5, 2], "Conv3D: {filters: 2, kernel_size: 2, activation: relu%s}", ("valid", "same")),
    "DepthwiseConv1D": (
        [9, 3],
        "DepthwiseConv1D: {kernel_size: 3, depth_multiplier: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "DepthwiseConv2D": (
        [7, 7, 2],
        "DepthwiseConv2D: {kernel_size: 3, depth_multiplier: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "SeparableConv1D": (
        [9, 3],
        "SeparableConv1D: {filters: 4, kernel_size: 3, depth_multiplier: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "SeparableConv2D": (
        [7, 7, 3],
        "SeparableConv2D: {filters: 4, kernel_size: 3, depth_multiplier: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "Conv1DTranspose": (
        [4, 3],
        "Conv1DTranspose: {filters: 4, kernel_size: 3, strides: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "Conv2DTranspose": (
        [3, 3, 3],
        "Conv2DTranspose: {filters: 4, kernel_size: 3, strides: 2, activation: relu%s}",
        ("valid", "same"),
    ),
    "Conv3DTranspose": (
        [2, 2, 2, 2],
        "Conv3DTranspose: {filters: 2, kernel_size: 2, activation: relu%s}",
        ("valid", "same"),
    ),
}
CASES = [(kind, padding) for kind, (_, _, paddings) in KINDS.items() for padding in paddings]
TERMS = [(scale, center) for scale in (True, False) for center in (True, False)]


def every_order(kind: str, padding: str, scale: bool, center: bool) -> str:
    """One model with a path per order: two units of it, then a Flatten and a head."""
    shape, layer, _ = KINDS[kind]
    layer = layer if "%s" not in layer else layer % f", padding: {padding}"
    lines = [
        f"input: {{shape: {shape}}}",
        "ordering:",
        "  {order: W, first: keep, closing: none, dropout: 0.2, "
        f"norm: {{BatchNormalization: {{scale: {str(scale).lower()}, center: {str(center).lower()}}}}}}}",
        "layers:",
    ]
    for number, order in enumerate(ORDERS):
        lines.append(f"  - {{{layer}, name: a{number}, order: {order}, from: input}}")
        lines.append(f"  - {{{layer}, name: b{number}, order: {order}}}")
        lines.append(f"  - {{Flatten, name: f{number}}}" if kind != "Dense" else f"  - {{Identity, name: f{number}}}")
        lines.append(f"  - {{Dense: 2, name: h{number}}}")
    return "\n".join(lines)


def foldable(order: str, shift_reaches_all: bool) -> list[bool]:
    """For each of the two normalizations of a path, whether a W stands beside it: read off the letters alone."""
    letters = [letter for letter in order.replace("-", "") * 2 + "H" if letter != "D"]
    found = []
    for place, letter in enumerate(letters):
        if letter == "N":
            behind = letters[place + 1]
            found.append(
                (place > 0 and letters[place - 1] == "W") or behind == "H" or (behind == "W" and shift_reaches_all)
            )
    return found


def check_every_order(kind: str, padding: str, scale: bool, center: bool, dtype: str, tolerance: float) -> None:
    plan = plan_spec(parse_spec(every_order(kind, padding, scale, center)))
    difference, folded = compare(plan, dtype)
    assert difference <= tolerance
    assert not any("Dropout" in type(layer).__name__ for layer in folded.model.layers)
    reaches = padding in ("", "valid") and not kind.endswith("Transpose") and kind != "EinsumDense"
    left = {layer.name for layer in folded.model.layers}
    for number, order in enumerate(ORDERS):
        wanted = foldable(order, reaches)
        assert [f"{unit}{number}_bn" not in left for unit in "ab"[: len(wanted)]] == wanted, order


@pytest.mark.parametrize("kind", ["Dense", "Conv2D"])
def test_every_order(kind: str) -> None:
    check_every_order(kind, KINDS[kind][2][0], True, True, "float64", 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "center"), TERMS)
@pytest.mark.parametrize(("kind", "padding"), CASES)
def test_every_order_of_every_weight_layer(kind: str, padding: str, scale: bool, center: bool) -> None:
    check_every_order(kind, padding, scale, center, "float64", 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "padding"), CASES)
def test_every_order_in_single_precision(kind: str, padding: str) -> None:
    check_every_order(kind, padding, True, True, "float32", 1e-5)
