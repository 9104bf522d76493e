"""Ejected code builds the identical model: graph, configs, and outputs after copying weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.model.verify import compare
from kbuild.plan.pipeline import compile_spec, plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES
from kbuild.resources import spec_path, specs_dir
from kbuild.show.eject import eject
from kbuild.spec.load import parse_spec

pytestmark = pytest.mark.slow

SPECS = {
    "residual": """
input: {shape: [16, 16, 3]}
blocks:
  bottleneck:
    params: {filters: required, stride: 1}
    layers:
      - residual:
          layers:
            - Conv2D: {filters: =filters, kernel_size: 1, strides: =stride, activation: relu}
            - Conv2D: {filters: =filters, kernel_size: 3, padding: same, activation: relu}
            - Conv2D: {filters: =4*filters, kernel_size: 1, activation: relu}
layers:
  - {Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}, name: stem}
  - repeat: {times: 2, layers: [{use: bottleneck, with: {filters: 4}}]}
  - {use: bottleneck, with: {filters: 8, stride: 2}}
  - GlobalAveragePooling2D
  - {Dense: {units: 10, activation: softmax}, name: predictions}
""",
    "two ways": """
inputs: {image: {shape: [8, 8, 1]}, words: {shape: [5], dtype: int32}}
layers:
  - {Conv2D: {filters: 4, kernel_size: 3, activation: gelu, kernel_initializer: he_normal}, from: image}
  - {Flatten: {}, name: seen}
  - {Embedding: {input_dim: 20, output_dim: 6, embeddings_initializer: {RandomNormal: {stddev: 0.1}}}, from: words}
  - {Bidirectional: {layer: {LSTM: {units: 3, return_sequences: true}}}, name: read}
  - {MultiHeadAttention: {num_heads: 2, key_dim: 4}, from: [read, read]}
  - {GlobalAveragePooling1D: {}, name: heard}
  - {Concatenate: {}, from: [seen, heard], name: both}
  - {Dense: {units: 6, activation: {LeakyReLU: {negative_slope: 0.2}}, kernel_regularizer: {L2: 0.001}}}
  - {Dense: 3, name: one}
  - {Dense: {units: 2, activation: sigmoid}, from: both, name: other}
""",
}


def ejected(plan: Plan):
    namespace: dict = {"__name__": "ejected"}
    exec(compile(eject(plan), "ejected", "exec"), namespace)
    return namespace["build_model"]()


def check(plan: Plan) -> None:
    import_keras().utils.clear_session()  # layers inside layers have automatic names
    built = build_model(plan)
    import_keras().utils.clear_session()
    made = ejected(plan)
    assert compare(plan, made) == []
    assert made.name == built.name
    assert [layer.name for layer in made.layers] == [layer.name for layer in built.layers]
    for ours, theirs in zip(built.layers, made.layers, strict=True):
        assert theirs.get_config() == ours.get_config()
    assert [weight.path for weight in made.weights] == [weight.path for weight in built.weights]
    made.set_weights(built.get_weights())
    random = np.random.default_rng(0)
    shapes = [((3, *tensor.shape[1:]), "int" in tensor.dtype) for tensor in built.inputs]
    inputs = [random.integers(0, 20, shape) if whole else random.normal(size=shape) for shape, whole in shapes]
    inputs = inputs[0] if len(inputs) == 1 else inputs
    outputs = zip(import_keras().tree.flatten(built(inputs)), import_keras().tree.flatten(made(inputs)), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in outputs)


@pytest.mark.parametrize("policy", [policy.name for policy in POLICIES])
def test_every_policy(policy: str) -> None:
    check(plan_spec(parse_spec(SPECS["residual"], policy)))


def test_two_inputs_and_two_outputs() -> None:
    check(plan_spec(parse_spec(SPECS["two ways"])))


@pytest.mark.parametrize("name", ["digits", "mnist_mlp", "zoo/mobilenetv3small", "zoo/resnet50v2"])
def test_shipped_specs(name: str) -> None:
    check(compile_spec(specs_dir() / f"{name}.yaml")[1])


def test_the_file_runs_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(eject(compile_spec(spec_path("digits"))[1]), encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", str(path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "conv1_bn" in done.stdout and "38,618" in done.stdout
