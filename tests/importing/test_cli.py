"""`kbuild import` and `kbuild summarize MODEL`: results on stdout, remarks on stderr, exit codes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from kbuild.cli import main
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec

LAYERS = [
    {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "in"}},
    {"class_name": "Dense", "config": {"name": "a", "units": 3, "use_bias": False, "trainable": True}},
    {"class_name": "BatchNormalization", "config": {"name": "b", "trainable": True}},
    {"class_name": "Dense", "config": {"name": "out", "units": 2, "trainable": True}},
]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": {"name": "chain", "layers": LAYERS}}), "utf-8")
    return path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    done = capsys.readouterr()
    return stop.value.code, done.out, done.err


def test_the_spec_goes_to_stdout_and_remarks_to_stderr(capsys, model):
    code, out, err = run(capsys, "import", model)
    assert code == 0
    assert plan_spec(parse_spec(out)).name == "chain"
    assert err == "note: W-N explains 2 of 2 units\n"
    assert run(capsys, "import", model, "--quiet")[2] == ""


@pytest.mark.parametrize("wrapped", ["Sequential", "Functional"])
def test_a_config_by_hand_needs_neither_modules_nor_trainable(capsys, tmp_path, wrapped):
    relu, last = {"name": "r"}, {"name": "last", "units": 1}
    layers = [*LAYERS, {"class_name": "ReLU", "config": relu}, {"class_name": "Dense", "config": last}]
    if wrapped == "Sequential":
        layers.append({"class_name": "Softmax", "config": {"name": "s"}})  # Keras has an operation Softmax too
    config = {"name": "chain", "layers": [plain(layer) for layer in layers]}
    if wrapped == "Functional":
        for before, layer in pairwise(config["layers"]):
            read = {"class_name": "__keras_tensor__", "config": {"keras_history": [before["config"]["name"], 0, 0]}}
            layer["inbound_nodes"] = [{"args": [read], "kwargs": {}}]
        config |= {"input_layers": ["in", 0, 0], "output_layers": ["last", 0, 0]}
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"class_name": wrapped, "config": config}), "utf-8")
    code, out, err = run(capsys, "import", path)
    assert (code, "Dense" in out) == (0, True), err


def plain(layer):
    return {**layer, "config": {key: value for key, value in layer["config"].items() if key != "trainable"}}


def test_a_file_is_not_replaced_unasked(capsys, model, tmp_path):
    target = tmp_path / "m.yaml"
    assert run(capsys, "import", model, "-o", target)[:2] == (0, f"{target}\n")
    code, out, err = run(capsys, "import", model, "-o", target)
    assert (code, out, err) == (2, "", f"error: {target} exists; --overwrite replaces it\n")
    assert run(capsys, "import", model, "-o", target, "--overwrite")[0] == 0
    code, _, err = run(capsys, "import", model, "-o", model / "m.yaml")
    assert (code, "cannot write" in err) == (2, True)


def test_json(capsys, model):
    data = json.loads(run(capsys, "import", model, "--json")[1])
    assert data["ordering"] == {"order": "W-N", "policy": None}
    assert (data["units"], data["explained"], data["share"], data["departures"]) == (2, 2, 1.0, [])
    assert data["spec"].startswith("# Imported from m.json: W-N explains 2 of 2 units.\n")


def test_a_refusal_is_a_wrong_input(capsys, tmp_path):
    code, out, err = run(capsys, "import", tmp_path / "m.keras")
    assert (code, out, err) == (2, "", f"error: cannot read {tmp_path / 'm.keras'}: there is no such file\n")


@pytest.mark.parametrize("format_", ["table", "json", "mermaid"])
def test_summarize_a_model(capsys, model, format_):
    code, out, _ = run(capsys, "summarize", model, "--format", format_)
    assert code == 0
    assert "chain" in out
    if format_ == "json":
        plan = Plan.from_json(out)
        assert plan.layer("b").folds_into == "a"
        assert [unit.order for unit in plan.units] == ["W-N", "W-N"]


def test_an_ordering_cannot_be_laid_over_a_model(capsys, model):
    code, _, err = run(capsys, "summarize", model, "--ordering", "W-A")
    assert (code, "is a saved model; --ordering and --set apply to specs: `kbuild import` writes its spec" in err) == (
        2,
        True,
    )
