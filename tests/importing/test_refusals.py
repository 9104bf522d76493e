"""What a spec cannot hold is refused by name, all of it at once; what is not kept is said."""

from __future__ import annotations

import json

import pytest

from kbuild.errors import InputError
from kbuild.importing.network import network_of
from kbuild.importing.writing import import_network
from tests.importing.models import keras, layers


def data_of(model):
    return json.loads(model.to_json())


def refusal(model):
    with pytest.raises(InputError) as caught:
        import_network(network_of(data_of(model), "m.keras"))
    return str(caught.value)


@keras.saving.register_keras_serializable("mine")
class Scaled(keras.layers.Dense):
    pass


@keras.saving.register_keras_serializable("mine")
class Clever(keras.Model):
    def call(self, inputs):
        return inputs

    def get_config(self):
        return {}


def functional(*middle):
    x = a = keras.Input((4,), name="a")
    for layer in middle:
        x = layer(x)
    return keras.Model(a, layers.Dense(2, name="out")(x))


def test_code_is_refused_by_name():
    model = functional(layers.Lambda(lambda x: x * 2, name="twice"))
    assert (
        refusal(model)
        == "m.keras cannot be written as a spec:\n  twice (Lambda): it runs Python code held in its config"
    )


def test_classes_of_others_are_named_with_their_number():
    model = functional(Scaled(4, name="one"), Scaled(4, name="two"))
    assert "Scaled is no layer class of Keras' own (2 layers, the first is one)" in refusal(model)


def test_a_shared_layer_is_refused_by_name():
    shared = layers.Dense(4, name="shared")
    assert "shared (Dense) is called 2 times; a spec has no shared layers" in refusal(functional(shared, shared))


def test_everything_wrong_is_said_at_once():
    shared = layers.Dense(4, name="shared")
    text = refusal(functional(shared, shared, layers.Lambda(abs, name="code"), Scaled(4, name="one")))
    assert [word in text for word in ("shared", "code (Lambda)", "Scaled")] == [True] * 3


def test_other_operations_are_named():
    model = functional(lambda x: keras.ops.sin(x))
    assert "is the operation Sin; a spec holds ops.add, ops.subtract, ops.multiply, ops.true_divide" in refusal(model)


def test_a_subclassed_model():
    assert refusal(Clever()) == (
        "m.keras holds a Clever, neither a Functional nor a Sequential model; "
        "a subclassed model has no config that says how it is built"
    )


def test_a_model_without_input_shape():
    model = keras.Sequential([layers.Dense(2)], name="lazy")
    assert "the Sequential model 'lazy' has no input shape; build it, or begin it with keras.Input" in refusal(model)


def test_a_model_without_a_weight_layer_has_no_head():
    a = keras.Input((4,))
    assert "a head is a weight layer" in refusal(keras.Model(a, layers.ReLU()(a)))


def test_calls_that_a_spec_cannot_write():
    assert "is called with training" in refusal(functional(lambda x: layers.Dropout(0.5, name="mc")(x, training=True)))
    a, state = keras.Input((5, 3)), keras.Input((4,))
    rnn = layers.GRU(4)(a, initial_state=state)
    assert "is called with initial_state" in refusal(keras.Model([a, state], layers.Dense(1)(rnn)))


def test_several_outputs_of_a_layer():
    a = keras.Input((5, 3))
    _, state = layers.GRU(4, return_state=True, name="gru")(a)
    assert "reads output 1 of gru" in refusal(keras.Model(a, layers.Dense(1)(state)))


def test_objects_of_others():
    @keras.saving.register_keras_serializable("mine")
    def swing(x):
        return x

    assert "its activation 'mine>swing' is no activation" in refusal(functional(layers.Dense(3, activation=swing)))


def test_old_connections_are_keras_2():
    data = data_of(functional(layers.Dense(3)))
    data["config"]["layers"][1]["inbound_nodes"] = [[["a", 0, 0, {}]]]
    with pytest.raises(InputError, match="was saved by Keras 2, whose format kbuild does not read"):
        network_of(data, "m.json")


@pytest.mark.parametrize("cut", ["layers", "input_layers", "output_layers"])
def test_a_config_with_a_part_missing(cut):
    data = data_of(functional(layers.Dense(3)))
    del data["config"][cut]
    with pytest.raises(InputError, match="Functional" if cut == "layers" else "not as Keras 3 writes it"):
        network_of(data, "m.json")


def test_every_broken_value_is_an_input_error():
    """Any value of a config replaced by nonsense: a model, or an InputError, never anything else."""
    text = json.dumps(data_of(functional(layers.Dense(3, activation="relu"), layers.BatchNormalization())))
    whole = json.loads(text)
    for path in list(paths(whole)):
        for nonsense in (None, -1, "x", [], {}, [["x"]], {"class_name": "x", "config": {}}):
            data = json.loads(text)
            target = data
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = nonsense
            try:
                import_network(network_of(data, "m.json"))
            except InputError:
                continue


def paths(value, at=()):
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in children:
        if key not in ("build_config", "compile_config", "module", "registered_name"):
            yield (*at, key)
            yield from paths(below, (*at, key))


def test_a_nested_model_is_flattened_and_said_so():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="out", activation="relu")], name="inner")
    network = network_of(data_of(functional(inner)), "m.keras")
    assert network.remarks == ("the nested model inner is flattened",)
    assert list(network.layers) == ["a", "inner_out", "out"]
    assert import_network(network).plan.layer("out").inputs == ("inner_out",)


def test_a_fixed_batch_size_and_names_are_said():
    a = keras.Input(batch_shape=(8, 4), name="my input")
    imported = import_network(network_of(data_of(keras.Model(a, layers.Dense(2, name="_out")(a))), "m.keras"))
    assert imported.remarks[1:] == (
        "the fixed batch size 8 of the input my input is left free",
        "the layer 'my input' is renamed to 'my_input': a spec's names are plainer",
        "the layer '_out' is renamed to 'layer_out': a spec's names are plainer",
    )
