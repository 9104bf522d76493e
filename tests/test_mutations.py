"""Good specs made bad: whatever is deleted, doubled, swapped or retyped, a report and exit code 2, or a plan and 0.

The real command line runs in this process. A mutated spec never raises anything but SystemExit, never prints a
traceback, and where it is refused stderr names at least one error.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kbuild.catalog.layers import layer_names, lookup
from kbuild.cli.main import main
from kbuild.policy import BY_NAME
from kbuild.resources import spec_names, spec_path

CONFORMANCE = Path(__file__).parent / "data" / "conformance"

#: Structures that the shipped specs do not use.
INLINE = [
    """
vars: {width: 8, rate: 0.1}
input: {shape: [16, 16, 3]}
ordering: {policy: preact, dropout: {rate: =rate, kind: auto}, where: {dropout: branch}, norm: LayerNormalization}
blocks:
  basic:
    params: {filters: required, stride: 1}
    layers:
      - residual:
          layers:
            - Conv2D: {filters: =filters, kernel_size: 3, strides: =stride, padding: same, activation: relu}
              name: first
            - Conv2D: {filters: =filters, kernel_size: 3, padding: same, activation: relu}
        name: sum
layers:
  - Conv2D: {filters: =width, kernel_size: 3, padding: same, activation: relu}
  - repeat:
      times: 2
      layers:
        - use: basic
          with:
            filters: =width * 2**i
            stride: =1 + min(i, 1)
          name: stage
        - {Dropout: =rate, when: =i > 0}
  - branches:
      merge: Concatenate
      paths:
        - [{Conv2D: [4, 1], order: W-A}]
        - [{Conv2D: [4, 3, 1, same]}, {BatchNormalization: {momentum: 0.9}}]
  - GlobalAveragePooling2D
  - {Dense: {units: 10, activation: softmax, kernel_regularizer: {L2: 0.001}}, name: scores}
outputs: [scores]
train:
  data: {npz: a.npz, x: {input: images}, y: labels}
  loss: {SparseCategoricalCrossentropy: {from_logits: false}}
  optimizer: {SGD: {learning_rate: {CosineDecay: [0.1, 1000]}, momentum: 0.9}}
  metrics: [accuracy, {TopKCategoricalAccuracy: {k: 3}}]
  callbacks: [{EarlyStopping: {patience: 3}}]
  class_weight: {0: 1, 1: 2.5}
  augment: [{RandomFlip: horizontal}]
  epochs: 3
""",
    """
inputs: {tokens: {shape: [null], dtype: int32}, meta: {shape: [4]}}
ordering: W-N-A-D
outputs: [scores, side]
layers:
  - {Embedding: [100, 8], from: tokens, name: words}
  - Bidirectional: {layer: {LSTM: {units: 4, return_sequences: true}}, merge_mode: sum}
  - {MultiHeadAttention: {num_heads: 2, key_dim: 4}, from: [words, words], name: attended}
  - {GlobalMaxPooling1D: {}, name: pooled}
  - {Dense: {units: 8, activation: relu}, from: meta, name: side}
  - {Dense: {units: 4, activation: {LeakyReLU: {negative_slope: 0.1}}}, from: meta, name: other, dropout: {rate: 0.4}}
  - {Concatenate: {axis: -1}, from: [pooled, other]}
  - residual: {layers: [{Dense: 12}], shortcut: [{Dense: 12, norm: false}], merge: Add}
  - {Dense: 1, role: head, name: scores}
""",
]


def specs() -> list[Any]:
    texts = [spec_path(name).read_text(encoding="utf-8") for name in spec_names()] + INLINE
    found = [yaml.safe_load(text) for text in texts]
    found += [yaml.safe_load(path.read_text(encoding="utf-8"))["spec"] for path in sorted(CONFORMANCE.glob("*.yaml"))]
    return found


SPECS = specs()
TEXTS = [yaml.safe_dump(spec, sort_keys=False) for spec in SPECS] + INLINE

#: Classes that only Keras can shape; `summarize` would import TensorFlow for them.
SLOW = {name for name in layer_names() if lookup(name).shape is None or lookup(name).weights is None}

NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 1.5, -0.5, 0.0, 1e-3, 10**6, 10**12, 2**63, -(2**70), 10**30, 1e308,
    float("inf"), float("nan"), "", " ", "=", "=i", "=1/0", "=9**9", "=width", "=-width", "=1.5", "=(", "no", "~", "a",
    "input", "a/b", "ü", "x" * 300, "\t", "\n", "\x00", "\u2028", "'", "Dense", "Conv2D", "Flatten", "Add", "Lambda",
    "relu", "same", "auto", "identity", "none", "keep", "W", "N-A", "W-N-A-D-P", "preact", "digits", [], {}, [[]],
    [None], [1, 2], ["Dense"], {"Dense": 3}, {"units": 3}, {"": 1}, {"class_name": "Dense", "config": {}},
    {"class_name": 3}, [{"Dense": 3}, {"Add": {}}], {"rate": 0.1}, {"shape": [3]}, {"shape": []},
]  # fmt: skip

KEYS = [
    "", "name", "from", "order", "norm", "dropout", "pool", "role", "when", "with", "use", "repeat",
    "residual", "branches",
    "layers", "times", "merge", "paths", "shortcut", "shape", "dtype", "units", "activation", "use_bias", "axis",
    "policy", "where", "kind", "rate", "first", "head", "closing", "input", "inputs", "outputs", "vars",
    "blocks", "train",
    "kbuild", "include", "Dense", "Flatten", "LSTM", "<<", "a b", "é", "0", "class_name", "config", "params", "y" * 300,
]  # fmt: skip


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every (collection, key or index) below a tree."""
    found, stack = [], [tree]
    while stack:
        node = stack.pop()
        pairs = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        for key, value in pairs:
            found.append((node, key))
            stack.append(value)
    return found


def mutate(tree: Any, dice: random.Random) -> Any:
    """One change somewhere below a tree, in place; the tree itself may be replaced."""
    places = nodes(tree)
    if not places or dice.random() < 0.01:
        return copy.deepcopy(dice.choice(NASTY))
    parent, key = dice.choice(places)
    action = dice.choice(["delete", "double", "swap", "retype", "replace", "replace", "rename", "graft", "shuffle"])
    value = parent[key]
    if action == "delete":
        del parent[key]
    elif action == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value))
    elif action == "swap":
        other, at = dice.choice(places)
        if value is not other and other[at] is not parent:
            parent[key], other[at] = copy.deepcopy(other[at]), copy.deepcopy(value)
    elif action == "retype":
        kinds = [str(value), [value], {"Dense": value}, {str(key): value}]
        kinds += [list(value.values()), list(value)] if isinstance(value, dict) else []
        parent[key] = copy.deepcopy(dice.choice(kinds))
    elif action == "rename" and isinstance(parent, dict):
        parent[dice.choice([*KEYS, str(key) + "s", str(key)[:-1], str(key).lower()])] = parent.pop(key)
    elif action == "graft" and isinstance(parent, dict):
        parent[dice.choice(KEYS)] = copy.deepcopy(dice.choice(NASTY))
    elif action == "shuffle" and isinstance(value, list):
        dice.shuffle(value)
    else:
        parent[key] = copy.deepcopy(dice.choice(NASTY))
    return tree


def run(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code, out.getvalue(), err.getvalue()  # type: ignore[return-value]


def check(arguments: list[str]) -> None:
    """Run `kbuild summarize ... --json`: a plan or a report, nothing else."""
    code, out, err = run(["summarize", *arguments, "--json"])
    assert "Traceback" not in err
    assert code in (0, 2), err
    if code == 0:
        assert json.loads(out)["layers"]
    else:
        assert not out
        assert "error[" in err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


quick = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_the_specs_to_mutate_are_good(number: int, folder: Path) -> None:
    path = folder / "good.yaml"
    path.write_text(TEXTS[number], encoding="utf-8")
    code, _, err = run(["summarize", str(path), "--json"])
    assert code == 0, err


@quick
@given(which=st.sampled_from(range(len(SPECS))), seed=st.integers(0, 2**32), changes=st.integers(1, 4))
def test_changed_nodes(which: int, seed: int, changes: int, folder: Path) -> None:
    dice, tree = random.Random(seed), copy.deepcopy(SPECS[which])
    for _ in range(changes):
        tree = mutate(tree, dice)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=dice.random() < 0.5)
    if any(name in text for name in SLOW):
        return
    path = folder / "nodes.yaml"
    path.write_text(text, encoding="utf-8")
    check([str(path)])


@quick
@given(which=st.sampled_from(range(len(TEXTS))), seed=st.integers(0, 2**32), changes=st.integers(1, 3))
def test_changed_bytes(which: int, seed: int, changes: int, folder: Path) -> None:
    dice, raw = random.Random(seed), bytearray(TEXTS[which].encode())
    for _ in range(changes):
        at, size = dice.randrange(len(raw) + 1), dice.randrange(1, 12)
        piece = dice.choice([
            bytes(dice.randrange(256) for _ in range(size)), b":", b": ", b"- ", b"\t", b"{", b"}", b"[",
            b"]", b"'", b'"',
            b"*", b"&a ", b"!!int ", b"!", b"|\n", b">\n", b"#", b"---\n", b"%", b"@", b"?", b"\r\n", b"=",
            b"\xef\xbb\xbf",
            "\u0085\u2028é畳".encode(), raw[at : at + 40],
        ])  # fmt: skip
        raw[at : at + dice.choice([0, 0, 1, size])] = piece
    text = raw.decode("utf-8", "ignore")
    if any(name in text for name in SLOW):
        return
    path = folder / "bytes.yaml"
    path.write_bytes(raw)
    check([str(path)])


PATHS = st.lists(
    st.sampled_from([*KEYS, "0", "1", "5", "-1", "99", "width", "learning_rate", "Conv2D", "optimizer", "epochs"]),
    min_size=1,
    max_size=5,
).map(".".join)
VALUES = st.one_of(
    st.sampled_from(NASTY).map(lambda value: value if isinstance(value, str) else json.dumps(value)),
    st.text(max_size=30),
    st.sampled_from(["{a: ", "[", "*a", "!!python/object:os.system x", "&a [*a]", "a: b: c", "---", "# nothing"]),
)


@quick
@given(
    which=st.sampled_from(range(len(TEXTS))), path=PATHS, value=VALUES, equals=st.sampled_from(["=", "=", "=", "", ":"])
)
def test_any_override(which: int, path: str, value: str, equals: str, folder: Path) -> None:
    file = folder / "good.yaml"
    file.write_text(TEXTS[which], encoding="utf-8")
    check([str(file), f"--set={path}{equals}{value}"])


ORDERINGS = st.one_of(
    st.text(alphabet="WNADP-", max_size=8),
    st.text(max_size=20),
    st.sampled_from(
        [*BY_NAME, *(name[:-1] for name in BY_NAME), "{policy: ic}", "{order: W-A, dropout: 0.5}", "[W]", "&a x"]
    ),
    VALUES,
)


@quick
@given(which=st.sampled_from(range(len(TEXTS))), ordering=ORDERINGS)
def test_any_ordering(which: int, ordering: str, folder: Path) -> None:
    file = folder / "good.yaml"
    file.write_text(TEXTS[which], encoding="utf-8")
    check([str(file), f"--ordering={ordering}"])
