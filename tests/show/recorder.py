"""A stand-in for Keras that records what code makes of it, so that ejected code runs without TensorFlow."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.operations import OPERATIONS


@dataclass
class Made:
    """A layer: class, name, arguments by name, names of the layers it reads."""

    cls: str
    name: str
    config: dict[str, Any]
    inputs: tuple[str, ...] = ()


@dataclass
class Model:
    """What `keras.Model` was given, and every layer made before it."""

    inputs: list[str]
    outputs: list[str]
    name: str
    layers: dict[str, Made] = field(default_factory=dict)


class _Module(types.ModuleType):
    def __init__(self, name: str, make: Any):
        super().__init__(name)
        self._make = make

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._make(name)


class Recorder:
    def __init__(self) -> None:
        self.layers: dict[str, Made] = {}

    def layer(self, cls: str) -> Any:
        def make(*args: Any, name: str | None = None, **config: Any) -> Any:
            config = {**_by_name("layer", cls, args), **config}
            if name is None:
                return {"class_name": cls, "config": _plain(config)}
            return lambda *inputs: self.called(Made(cls, name, _plain(config)), inputs)

        return make

    def called(self, made: Made, inputs: tuple[Any, ...]) -> str:
        assert made.name not in self.layers, f"two layers are named {made.name}"
        flat = [one for item in inputs for one in (item if isinstance(item, list) else [item])]
        if made.cls in OPERATIONS:
            made.config = {key: one for key, one in zip(("x1", "x2"), flat, strict=True) if not isinstance(one, str)}
            flat = [one for one in flat if isinstance(one, str)]
        made.inputs = tuple(flat)
        self.layers[made.name] = made
        return made.name

    def input(self, shape: Any, name: str, dtype: str = "float32") -> str:
        return self.called(Made("InputLayer", name, {"shape": list(shape), "dtype": dtype}), ())

    def model(self, inputs: Any, outputs: Any, name: str) -> Model:
        listed = [one if isinstance(one, list) else [one] for one in (inputs, outputs)]
        return Model(*listed, name, self.layers)


def _by_name(kind: str, cls: str, args: tuple[Any, ...]) -> dict[str, Any]:
    signature = facts.signature(kind, cls)
    return dict(zip(signature.positional if signature else (), args, strict=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _objects(kind: str) -> _Module:
    def make(name: str) -> Any:
        return lambda *args, **config: {"class_name": name, "config": _plain({**_by_name(kind, name, args), **config})}

    return _Module(facts.MODULES[kind], make)


@contextmanager
def recorded_keras() -> Iterator[Recorder]:
    """`import keras` gives the stand-in inside."""
    recorder = Recorder()
    keras = types.ModuleType("keras")
    layers = _Module("keras.layers", recorder.layer)
    keras.layers, keras.Input, keras.Model = layers, recorder.input, recorder.model  # type: ignore[attr-defined]
    for kind in ("initializer", "regularizer", "constraint"):
        setattr(keras, facts.MODULES[kind].split(".")[1], _objects(kind))
    keras.ops = _Module("keras.ops", lambda name: f"ops.{name}")  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("keras", "keras.layers")}
    sys.modules.update({"keras": keras, "keras.layers": layers})
    try:
        yield recorder
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name)
            else:
                sys.modules[name] = module


def run(source: str) -> Model:
    """The model that `build_model` of a source makes; `operation` of keras.ops is the stand-in's."""
    with recorded_keras() as recorder:
        namespace: dict[str, Any] = {"__name__": "ejected"}
        exec(compile(source, "ejected", "exec"), namespace)
        if "operation" in namespace:
            namespace["operation"] = lambda function, name: recorder.layer(function)(name=name)
        return namespace["build_model"]()
