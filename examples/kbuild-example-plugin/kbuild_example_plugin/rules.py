"""A lint rule: what it says, why, a bad and a good spec, and the check itself."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.lint.finding import Found, Rule
from kbuild.lint.view import View

#: Above this a residual branch is not small at first.
LARGEST = 0.1


def _large(view: View) -> Iterator[Found]:
    for layer in view.plan.layers:
        initial = layer.config.get("initial", 1e-4)
        if layer.cls == "LayerScale" and initial > LARGEST:
            yield Found(f"{layer.name} starts at {initial:g}", (layer.name,), f"start at {LARGEST:g} or less")


LARGE_LAYER_SCALE = Rule(
    id="large-layer-scale",
    level="warning",
    says="a LayerScale that is not small at first",
    why="""
LayerScale lets a deep residual network start as the identity: its factors begin at 0.1 up to 18 blocks, at 1e-5 up to
24, and at 1e-6 beyond. A factor near one is a layer without effect on how the training starts.
""",
    source="Touvron et al. 2021, Going deeper with Image Transformers (arXiv:2103.17239), section 2",
    bad="""
input: {shape: [16]}
ordering: W-A
layers:
  - residual:
      layers:
        - Dense: {units: 16, activation: relu}
        - LayerScale: 1.0
  - Dense: 4
""",
    good="""
input: {shape: [16]}
ordering: W-A
layers:
  - residual:
      layers:
        - Dense: {units: 16, activation: relu}
        - LayerScale: 0.0001
  - Dense: 4
""",
    check=_large,
)
