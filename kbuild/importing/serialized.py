"""The structure of a serialized model: its layers, what each reads, nested models flattened. Nothing is judged yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from kbuild.catalog.facts import taken
from kbuild.errors import InputError
from kbuild.plan.plan import Shape

#: Serialized models; Sequential has no connections of its own.
MODELS = ("Functional", "Model", "Sequential")

#: What Keras calls both a layer and an operation of `keras.ops`.
_BOTH = frozenset(
    ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Reshape", "Softmax", "Subtract")
)


@dataclass(slots=True)
class RawLayer:
    """A layer before it is checked."""

    name: str
    cls: str
    config: dict[str, Any]
    entry: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    calls: int = 1
    operation: bool = False
    reads: list[str] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)


#: The layers of a model, and the names of its inputs and outputs.
_Structure = tuple[list[RawLayer], list[str], list[str]]


class ConfigReader:
    """Reads a config; collects what cannot be written (`refused`), what is not kept (`remarks`) and recorded shapes."""

    def __init__(self, file: str):
        self.file = file
        self.refused: list[str] = []
        self.remarks: list[str] = []
        self.shapes: dict[str, Shape] = {}

    def model(self, cls: str, config: dict[str, Any]) -> _Structure:
        """Its layers, nested models flattened, and the names of its inputs and outputs."""
        if cls == "Sequential":
            raws, inputs, outputs = self.sequential(config)
        else:
            raws = [self.raw(entry) for entry in config["layers"]]
            inputs, outputs = names_in(config["input_layers"]), names_in(config["output_layers"])
        for raw in raws:
            self.connections(raw)
        return self.flat(raws, outputs, inputs)

    def sequential(self, config: dict[str, Any]) -> _Structure:
        raws = [replace(self.raw(entry), operation=False) for entry in config["layers"]]
        if not raws or raws[0].cls != "InputLayer":
            shape = config.get("build_input_shape")
            if not isinstance(shape, list):
                hint = "build it, or begin it with keras.Input"
                raise InputError(f"{self.file}: the Sequential model {config.get('name')!r} has no input shape; {hint}")
            given = {"batch_shape": shape, "dtype": "float32", "name": "input"}
            raws.insert(0, RawLayer("input", "InputLayer", given, {}, [], {}))
        for before, raw in pairwise(raws):
            raw.args = [{"class_name": "__keras_tensor__", "config": {"keras_history": [before.name, 0, 0]}}]
        return raws, [raws[0].name], [raws[-1].name]

    def raw(self, entry: dict[str, Any]) -> RawLayer:
        cls, config = entry["class_name"], entry.get("config", {})
        name = entry.get("name", config.get("name"))
        nodes = entry.get("inbound_nodes", [])
        if nodes and not isinstance(nodes[0], dict):
            hint = "load it with Keras 3 and save it again as .keras"
            raise InputError(f"{self.file} was saved by Keras 2, whose format kbuild does not read; {hint}")
        first = nodes[0] if nodes else {"args": [], "kwargs": {}}
        operation = cls not in MODELS and _is_operation(cls, config, entry.get("module"))
        if cls in MODELS:
            config = {**config, "name": name}
        return RawLayer(str(name), cls, config, entry, first["args"], first["kwargs"], len(nodes) or 1, operation)

    def connections(self, raw: RawLayer) -> None:
        """What a layer reads: its tensors in the order in which Keras' call takes them."""
        args = list(raw.args)
        for name in ("query", "value", "key", "inputs", "x", "x1", "x2"):
            if name in raw.kwargs and (name not in ("x1", "x2") or raw.operation):
                args.append(raw.kwargs[name])
        for position, value in enumerate(args):
            tensors = list(self.tensors(value))
            raw.reads += [source for source, _ in tensors]
            if not tensors:
                raw.constants[f"x{position + 1}"] = value
            for source, index in tensors:
                if index:
                    self.refused.append(
                        f"{raw.name} ({raw.cls}) reads output {index} of {source}; layers of a spec give one"
                    )
        for name, value in raw.kwargs.items():
            if name in ("query", "value", "key", "inputs", "x", "x1", "x2", "mask") or value in (None, False, []):
                continue
            self.refused.append(f"{raw.name} ({raw.cls}) is called with {name}, which a spec cannot write")

    def tensors(self, value: Any) -> Iterator[tuple[str, int]]:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            config = value["config"]
            name, _, index = config["keras_history"]
            shape = config.get("shape")
            if isinstance(shape, list) and not index:
                if not all(size is None or type(size) is int for size in shape):
                    raise ValueError(f"a shape {shape}")
                self.shapes[name] = tuple(shape)
            yield name, index
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from self.tensors(item)

    def flat(self, raws: list[RawLayer], outputs: list[str], inputs: list[str]) -> _Structure:
        """Nested models replaced by their layers."""
        found: list[RawLayer] = []
        stands: dict[str, str] = {}
        taken = {raw.name for raw in raws}
        for raw in raws:
            raw.reads = [stands.get(name, name) for name in raw.reads]
            if raw.cls not in MODELS:
                found.append(raw)
                continue
            if raw.calls > 1:
                self.refused.append(f"{raw.name} ({raw.cls}) is called {raw.calls} times; a spec has no shared layers")
                continue
            inner, starts, ends = self.model(raw.cls, raw.config)
            if len(ends) != 1 or len(starts) != len(raw.reads):
                self.refused.append(f"{raw.name} ({raw.cls}) is a nested model of several outputs")
                continue
            self.remarks.append(f"the nested model {raw.name} is flattened")
            own = {layer.name: layer.name if layer.name not in taken else f"{raw.name}_{layer.name}" for layer in inner}
            own |= dict(zip(starts, raw.reads, strict=True))
            for layer in inner:
                if layer.name not in starts:
                    taken.add(own[layer.name])
                    layer.reads = [own[name] for name in layer.reads]
                    layer.name = own[layer.name]
                    found.append(layer)
            stands[raw.name] = own[ends[0]]
        return found, inputs, [stands.get(name, name) for name in outputs]


def _is_operation(cls: str, config: dict[str, Any], module: Any) -> bool:
    """Whether a node is one of `keras.ops`. Where no module is named (.h5, JSON by hand), what is missing tells."""
    if isinstance(module, str):
        return module.startswith("keras.src.ops")
    return "trainable" not in config and (cls in _BOTH or cls not in taken())


def names_in(entry: Any) -> list[str]:
    """`["a", 0, 0]`, a list or a mapping of such."""
    if isinstance(entry, dict):
        return [name for value in entry.values() for name in names_in(value)]
    if len(entry) == 3 and isinstance(entry[0], str) and isinstance(entry[1], int):
        return [entry[0]]
    return [name for value in entry for name in names_in(value)]
