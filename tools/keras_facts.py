"""Write `kbuild/catalog/keras.json`: what the installed Keras accepts, as data.

Run with Keras installed, after a new Keras release: ``python tools/keras_facts.py``. The file is deterministic, with
one class a line, so that a diff shows what a release changed. Every entry has::

    {"aliases": [...], "required": [argument, ...], "optional": {argument: default}, "keyword": {argument: default}}

`required` followed by `optional` is the positional order; `keyword` arguments come from base classes (`trainable`,
`dtype`, ...). Layer names belong to kbuild, so `name` is no layer argument.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "kbuild" / "catalog" / "keras.json"

#: Bases of other classes, and classes whose arguments are live Python objects that a text file cannot hold.
EXCLUDED = {
    "layers": {"Layer", "Wrapper", "InputSpec", "InputLayer", "Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer"}
    | {"TorchModuleWrapper"},
    "initializers": {"Initializer"},
    "regularizers": {"Regularizer"},
    "constraints": {"Constraint"},
    "optimizers": {"Optimizer", "MultiOptimizer", "OptimizerMap"},
    "schedules": {"LearningRateSchedule"},
    "losses": {"Loss"},
    "metrics": {"Metric", "MeanMetricWrapper"},
    "callbacks": {"Callback", "CallbackList", "History", "LambdaCallback", "LearningRateScheduler", "RemoteMonitor"},
}

#: Arguments that base classes take, tried on every layer class.
BASE_ARGUMENTS: dict[str, Any] = {
    "trainable": True,
    "dtype": None,
    "autocast": True,
    "activity_regularizer": None,
    "data_format": None,
    "bounding_box_format": None,
}

#: Arguments with which a layer can be made, to try the base arguments on it.
SAMPLES: dict[str, Any] = {
    "filters": 2, "kernel_size": 2, "units": 2, "pool_size": 2, "rate": 0.1, "stddev": 0.1, "factor": 1,
    "height": 4, "width": 4, "height_factor": 0.1, "width_factor": 0.1, "activation": "relu", "axes": 1,
    "input_dim": 3, "output_dim": 2, "equation": "ab,bc->ac", "n": 2, "dims": [1], "target_shape": [1],
    "num_heads": 1, "key_dim": 2, "head_dim": 2, "num_query_heads": 1, "num_key_value_heads": 1, "num_bins": 3,
    "max_number": 2, "scale": 1.0, "output_size": 2, "output_shape": 2, "bin_boundaries": [0.0],
}  # fmt: skip

#: Optional arguments without which a class cannot be made (or only with scipy, which Keras does not require).
EXTRA_SAMPLES: dict[str, dict[str, Any]] = {
    "CategoryEncoding": {"num_tokens": 3},
    "Discretization": {"bin_boundaries": [0.0]},
    "STFTSpectrogram": {"window": None},
    "MelSpectrogram": {"window": None},
}


def snake_case(name: str) -> str:
    """`LeakyReLU` → `leaky_re_lu`, as Keras names its layers."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def jsonable(value: Any) -> Any:
    """The value as JSON holds it; TypeError where JSON cannot."""
    return json.loads(json.dumps(value, allow_nan=False))


def signature(cls: type, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments of a class: those from `name` on can only be keywords, for `name` itself is left out."""
    required: list[str] = []
    optional: dict[str, Any] = {}
    keyword: dict[str, Any] = {}
    positional = True
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        positional = positional and parameter.kind is not parameter.KEYWORD_ONLY
        if parameter.name in without:
            positional = False
        elif parameter.default is parameter.empty:
            assert positional, f"{cls.__name__}.{parameter.name} is required and a keyword"
            required.append(parameter.name)
        else:
            (optional if positional else keyword)[parameter.name] = jsonable(parameter.default)
    return {"aliases": [], "required": required, "optional": optional, "keyword": keyword}


def classes(module: Any, excluded: set[str], taken: set[str] | None = None) -> dict[str, tuple[type, list[str]]]:
    """Canonical name → class and its other public names, abstract bases left out.

    A name in `taken` is not canonical: the initializer Identity is IdentityInitializer, for Identity is a layer.
    """
    names: dict[type, list[str]] = {}
    for name in dir(module):
        value = getattr(module, name)
        if inspect.isclass(value) and not name.startswith("_"):
            names.setdefault(value, []).append(name)
    found = {}
    for cls, public in names.items():
        capital = [name for name in public if name[0].isupper() and name not in (taken or ())]
        canonical = cls.__name__ if cls.__name__ in capital else capital[0]
        if canonical not in excluded:
            found[canonical] = (cls, sorted(set(public) - {canonical}))
    return dict(sorted(found.items()))


def layer_facts(keras: Any) -> dict[str, Any]:
    facts = {}
    for name, (cls, aliases) in classes(keras.layers, EXCLUDED["layers"]).items():
        fact = signature(cls, without=("name",))
        fact["aliases"] = aliases
        known = {*fact["required"], *fact["optional"], *fact["keyword"]}
        samples = {argument: sample(keras, name, argument) for argument in fact["required"]}
        for argument, default in BASE_ARGUMENTS.items():
            if argument not in known and accepts(cls, samples, argument, default):
                fact["keyword"][argument] = default
        facts[name] = fact
    return facts


def sample(keras: Any, layer: str, argument: str) -> Any:
    nested = {
        ("Bidirectional", "layer"): lambda: keras.layers.LSTM(2),
        ("TimeDistributed", "layer"): lambda: keras.layers.Dense(2),
        ("SpectralNormalization", "layer"): lambda: keras.layers.Dense(2),
        ("RNN", "cell"): lambda: keras.layers.LSTMCell(2),
        ("StackedRNNCells", "cells"): lambda: [keras.layers.LSTMCell(2)],
        ("Pipeline", "layers"): lambda: [keras.layers.RandomFlip()],
    }
    return nested[layer, argument]() if (layer, argument) in nested else SAMPLES[argument]


def accepts(cls: type, samples: dict[str, Any], argument: str, default: Any) -> bool:
    """Whether the class can be made with the argument (one that Keras keeps, not swallows)."""
    tried = {"data_format": "channels_first", "bounding_box_format": "xyxy"}.get(argument, default)
    extra = EXTRA_SAMPLES.get(cls.__name__, {})
    cls(**samples, **extra)
    try:
        cls(**samples, **extra, **{argument: tried})
    except (TypeError, ValueError):
        return False
    return True


def object_facts(module: Any, excluded: set[str], strings: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    """Facts on the classes of one module; `strings` is Keras' own table of names it resolves."""
    found = classes(module, excluded, taken)
    plain = {re.sub("_", "", name).lower(): name for name in found}
    facts = {}
    for name, (cls, aliases) in found.items():
        facts[name] = {**signature(cls), "aliases": sorted(aliases)}
    for alias, value in strings.items():
        if inspect.isclass(value):
            owner = next((name for name, (cls, _) in found.items() if cls is value), None)
        else:
            owner = plain.get(value.__name__.replace("_", "").lower())
        if owner and alias != owner and alias not in found:
            facts[owner]["aliases"] = sorted({*facts[owner]["aliases"], alias})
    for name in dir(module):  # functions such as losses.huber, where Keras' own table has gaps
        owner = plain.get(name.replace("_", "").lower())
        if owner and name != owner and name not in found:
            facts[owner]["aliases"] = sorted({*facts[owner]["aliases"], name})
    return facts


def generate() -> dict[str, Any]:
    """The content of keras.json."""
    import keras
    from keras.src import activations, constraints, initializers, losses, metrics, optimizers, regularizers

    def objects(section: str, module: Any, strings: dict[str, Any]) -> dict[str, Any]:
        return object_facts(module, EXCLUDED[section], strings, taken=set(dir(keras.layers)))

    functions = sorted(activations.ALL_OBJECTS_DICT)
    return {
        "keras": keras.__version__,
        "layers": layer_facts(keras),
        "initializers": objects("initializers", keras.initializers, initializers.ALL_OBJECTS_DICT),
        "regularizers": objects("regularizers", keras.regularizers, regularizers.ALL_OBJECTS_DICT),
        "constraints": objects("constraints", keras.constraints, constraints.ALL_OBJECTS_DICT),
        "activations": functions,
        "optimizers": objects("optimizers", keras.optimizers, optimizers.ALL_OBJECTS_DICT),
        "schedules": objects("schedules", keras.optimizers.schedules, {}),
        "losses": objects("losses", keras.losses, losses.ALL_OBJECTS_DICT),
        "metrics": objects("metrics", keras.metrics, metrics.ALL_OBJECTS_DICT),
        "callbacks": objects("callbacks", keras.callbacks, {}),
    }


def render(facts: dict[str, Any]) -> str:
    """JSON with one class a line."""
    parts = []
    for section, content in facts.items():
        if isinstance(content, dict):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fact)}" for name, fact in content.items())
            parts.append(f"{json.dumps(section)}: {{\n{lines}\n }}")
        else:
            parts.append(f"{json.dumps(section)}: {json.dumps(content)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(render(generate()), encoding="utf-8")
    print(f"wrote {TARGET}")
