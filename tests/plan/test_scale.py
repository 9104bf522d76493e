"""Large specs: time and memory of planning grow with the layers, and what is too large is refused unexpanded."""

from __future__ import annotations

import tracemalloc

import pytest

from kbuild.errors import SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec

NESTED = """\
input: {shape: [16, 16, 8]}
ordering: ORDER
blocks:
  basic:
    params: {filters: required}
    layers:
      - residual:
          layers:
            - Conv2D: {filters: =filters, kernel_size: 3, padding: same, activation: relu}
            - Conv2D: {filters: =filters, kernel_size: 3, padding: same, activation: relu}
layers:
  - repeat:
      times: TIMES
      layers:
        - repeat: {times: 10, layers: [{use: basic, with: {filters: =8*(1 + i % 2)}}]}
  - GlobalAveragePooling2D
  - Dense: 10
"""


def planned(order: str, layers: int) -> Plan:
    """About so many layers, in nested repeats of a residual block that projects every time."""
    each = 90 if order == "W-N-A" else 80
    return plan_spec(parse_spec(NESTED.replace("ORDER", order).replace("TIMES", str(layers // each))))


@pytest.mark.parametrize("order", ["W-N-A", "N-A-W"])
def test_ten_thousand_layers_plan(order: str) -> None:
    plan = planned(order, 10_000)
    assert 9_800 <= len(plan.layers) <= 10_200


@pytest.mark.parametrize("order", ["W-N-A", "N-A-W"])
def test_memory_grows_with_the_layers(order: str) -> None:
    peaks = []
    for layers in (1_000, 4_000):
        tracemalloc.start()
        planned(order, layers)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4.5 * peaks[0]
    assert peaks[1] < 4_000 * 4_096


TOO_LARGE = {
    "nested repeats": "layers:\n"
    "  - repeat: {times: 1000000, layers: [{repeat: {times: 1000000, layers: [{Dense: 3}]}}]}",
    "blocks that double": "blocks:\n"
    + "".join(f"  b{n}: {{layers: [{{use: b{n + 1}}}, {{use: b{n + 1}}}]}}\n" for n in range(30))
    + "  b30: {layers: [{Dense: 3}]}\nlayers: [{use: b0}]",
    "a parameter": "blocks: {b: {params: {n: 3}, layers: [{repeat: {times: =n**10, layers: [{Dense: 3}]}}]}}\n"
    "layers: [{use: b, with: {n: 12}}]",
    "branches": "layers: [{repeat: {times: 200, layers: [{branches: {paths: [[{repeat: {times: 400, layers: "
    "[{Dense: 3}]}}], []]}}]}}]",
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_refused_before_it_is_made(name: str) -> None:
    spec = parse_spec(f"input: {{shape: [4]}}\n{TOO_LARGE[name]}\n")
    tracemalloc.start()
    with pytest.raises(SpecError, match=r"expanded-layers \(50000\)") as caught:
        plan_spec(spec)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert [problem.code for problem in caught.value.problems] == ["limit"]


def test_repeats_of_nothing_are_bounded_too() -> None:
    layers = "[{repeat: {times: 40000, layers: [{repeat: {times: =i, layers: []}}]}}, {Dense: 1}]"
    with pytest.raises(SpecError, match="expanded-items"):
        plan_spec(parse_spec(f"input: {{shape: [4]}}\nlayers: {layers}"))


def test_what_depends_on_the_index_is_counted_as_it_expands() -> None:
    layers = "[{repeat: {times: 400, layers: [{repeat: {times: =i + 400, layers: [{Dense: 3}]}}]}}]"
    with pytest.raises(SpecError, match="expanded-layers"):
        plan_spec(parse_spec(f"input: {{shape: [4]}}\nlayers: {layers}"))
