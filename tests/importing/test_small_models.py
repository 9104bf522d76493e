"""Models made by hand, imported from the files that Keras saves, and built again."""

from __future__ import annotations

import json

import pytest

from kbuild.importing import import_model, plan_of_model
from kbuild.model.lower import build_model
from kbuild.plan.plan import Plan
from tests.importing.models import MODELS, keras


def graph(model):
    """Name → class, config, and what it reads, without masks and without the names of wrapped layers."""
    data = json.loads(model.to_json())["config"]
    found = {}
    before = None
    for entry in data["layers"]:
        if entry["class_name"] == "NotEqual":
            continue
        name = entry["config"]["name"]
        config = {key: value for key, value in entry["config"].items() if key != "name"}
        if "inbound_nodes" in entry:
            reads = [tensors(node["args"]) + tensors(node["kwargs"].get("key", [])) for node in entry["inbound_nodes"]]
        else:
            reads = [[before]] if before else []
        before = name
        found[name] = (entry["class_name"], without_names(config), reads)
    return found


def tensors(value):
    if isinstance(value, dict):
        return [value["config"]["keras_history"][0]] if value.get("class_name") == "__keras_tensor__" else []
    return [name for item in value for name in tensors(item)] if isinstance(value, list) else []


def without_names(value):
    if isinstance(value, dict):
        policy = value.get("class_name") == "DTypePolicy"
        return {k: without_names(v) for k, v in value.items() if k not in ("name", "build_config") or policy}
    return [without_names(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("suffix", ["keras", "h5", "json"])
@pytest.mark.parametrize("name", ["sequential", "several_inputs_and_outputs", "operations"])
def test_every_kind_of_file_gives_the_same_spec(name, suffix, tmp_path):
    model = MODELS[name]()
    path, reference = tmp_path / f"m.{suffix}", tmp_path / "n.json"
    reference.write_text(model.to_json(), "utf-8")
    if suffix == "json":
        path.write_text(model.to_json(), "utf-8")
    else:
        model.save(path)
    body = [import_model(file).spec.split("\n", 1)[1] for file in (path, reference)]
    assert body[0] == body[1]


@pytest.mark.parametrize("name", MODELS)
def test_an_import_is_the_same_graph(name, tmp_path):
    model = MODELS[name]()
    path = tmp_path / f"{name}.json"
    path.write_text(model.to_json(), "utf-8")
    imported = import_model(path)
    built = build_model(imported.plan)
    assert graph(built) == graph(model)
    assert built.count_params() == model.count_params()
    assert [tuple(tensor.shape) for tensor in built.outputs] == [tuple(tensor.shape) for tensor in model.outputs]


@pytest.mark.parametrize("name", MODELS)
def test_the_plan_of_a_model_states_what_keras_built(name, tmp_path):
    model = MODELS[name]()
    path = tmp_path / f"{name}.json"
    path.write_text(model.to_json(), "utf-8")
    plan = plan_of_model(path)
    assert plan.total_params == model.count_params()
    assert Plan.from_json(plan.to_json()) == plan
    for layer in model.layers:
        planned = plan.layer(layer.name)
        assert planned.output_shape == tuple(layer.output.shape)
        assert planned.params == layer.count_params()
        assert f"found in {path}" in planned.because
        if hasattr(layer, "use_bias") and planned.role == "W":
            assert planned.config["use_bias"] is layer.use_bias


def test_vocabularies_that_were_learnt_keep_their_size(tmp_path):
    import numpy as np

    layers = keras.layers
    city, job, age = (
        keras.Input((1,), dtype="string", name="city"),
        keras.Input((1,), dtype="string", name="job"),
        keras.Input((2,), name="age"),
    )
    learnt = layers.StringLookup(output_mode="one_hot", name="learnt")
    learnt.adapt(np.array([["rome"], ["oslo"], ["rome"]]))
    given = layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot", name="given")
    padded = layers.StringLookup(max_tokens=9, pad_to_max_tokens=True, output_mode="one_hot", name="padded")
    padded.adapt(np.array([["rome"]]))
    joined = layers.Concatenate(name="joined")(
        [learnt(city), given(job), padded(city), layers.Normalization(name="n")(age)]
    )
    model = keras.Model([city, job, age], layers.Dense(3, name="out")(joined))
    path = tmp_path / "m.keras"
    model.save(path)
    imported = import_model(path)
    assert (
        "{StringLookup: {max_tokens: 3, output_mode: one_hot, pad_to_max_tokens: true}, name: learnt" in imported.spec
    )
    assert "{StringLookup: {output_mode: multi_hot, vocabulary: [a, b]}, name: given, from: job}" in imported.spec
    built = build_model(imported.plan)
    assert built.count_params() == model.count_params()
    assert [tuple(layer.output.shape) for layer in built.layers] == [
        tuple(model.get_layer(layer.name).output.shape) for layer in built.layers
    ]


def test_weights_move_over_and_the_outputs_are_equal(tmp_path):
    import numpy as np

    model = MODELS["preactivation"]()
    path = tmp_path / "m.keras"
    model.save(path)
    built = build_model(import_model(path).plan)
    built.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(built.predict(images, verbose=0), model.predict(images, verbose=0))
    keras.backend.clear_session()


def test_departures_stand_beside_the_layer(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(MODELS["several_inputs_and_outputs"]().to_json(), "utf-8")
    imported = import_model(path)
    assert (str(imported.found.order), imported.found.explained, len(imported.found.units)) == ("W-A", 4, 5)
    assert imported.remarks == (
        "W-A (policy plain) explains 4 of 5 units",
        "the other units name an order of their own: 1 W-A-D",
    )
    assert imported.spec.count("order: W-A-D") == 1


def test_outputs_inside_the_model_are_named(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(MODELS["inner_outputs"]().to_json(), "utf-8")
    assert "outputs: [y, x, z]" in import_model(path).spec


def test_the_last_unit_of_a_model_without_a_top_is_no_head(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(MODELS["without_top"]().to_json(), "utf-8")
    imported = import_model(path)
    assert imported.found.share == 1
    assert imported.spec.count("role: trunk") == 1


def test_blocks_are_found_by_the_names_of_the_layers(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(MODELS["numbered_blocks"]().to_json(), "utf-8")
    spec = import_model(path).spec
    assert "  - {use: stage, name: stage1, with: {units: 8}}" in spec
    assert "params: {units: 16}" in spec


def test_one_line_changes_the_order_of_an_imported_residual_network(tmp_path):
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    path = tmp_path / "m.json"
    path.write_text(MODELS["preactivation"]().to_json(), "utf-8")
    spec = import_model(path).spec
    classes = [layer.cls for layer in plan_spec(parse_spec(spec, ordering="W-N-A")).layers]
    assert classes[:5] == ["InputLayer", "Conv2D", "BatchNormalization", "Conv2D", "BatchNormalization"]
