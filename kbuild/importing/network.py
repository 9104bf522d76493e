"""A model's config → its layers as plain data, or a refusal that names everything a spec cannot hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from kbuild.catalog.layers import FORBIDDEN, LayerFacts, lookup
from kbuild.catalog.operations import OPERATIONS
from kbuild.errors import InputError
from kbuild.importing.arguments import Unreadable, of_package, read_arguments
from kbuild.importing.serialized import MODELS, ConfigReader, RawLayer
from kbuild.plan.plan import Shape
from kbuild.spec.names import NAME
from kbuild.spec.parse import DTYPES

#: Layer classes whose config holds code or names a file.
_CODE = tuple(name for name, why in FORBIDDEN.items() if "runs" in why)
_OPERATION_CLASSES = {operation.cls: name for name, operation in OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer or operation of a model.

    Attributes:
        name: unique in the model.
        cls: public class name, or the name of an operation in a spec (`ops.add`).
        facts: its row in the catalog; None for an input.
        args: arguments that differ from Keras' defaults.
        inputs: names of the layers it reads, in order.
        shape: the output shape that the config records, where another layer reads it.
    """

    name: str
    cls: str
    facts: LayerFacts | None
    args: dict[str, Any]
    inputs: tuple[str, ...]
    shape: Shape | None = None

    @property
    def role(self) -> str:
        return "input" if self.facts is None else self.facts.role


@dataclass(frozen=True)
class Network:
    """A model: layers in topological order, inputs first.

    Attributes:
        name: the model's name, as a spec may have it.
        file: where it came from, for messages.
        layers: by name.
        inputs, outputs: names, in the model's order.
        remarks: what is not kept, in words.
    """

    name: str
    file: str
    layers: dict[str, Layer]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    readers: dict[str, list[str]] = field(default_factory=dict)


def network_of(data: dict[str, Any], file: str) -> Network:
    """Read a serialized model.

    Args:
        data: from `kbuild.importing.reader.read_config`.
        file: the file's name, for messages.

    Raises:
        InputError: everything in the model that a spec cannot hold, each by name.
    """
    return _Reader(file).read(data)


class _Reader(ConfigReader):
    def read(self, data: dict[str, Any]) -> Network:
        cls, config = data["class_name"], data.get("config")
        if cls not in MODELS or not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            hint = "a subclassed model has no config that says how it is built"
            raise InputError(f"{self.file} holds a {cls}, neither a Functional nor a Sequential model; {hint}")
        try:
            return self.network(cls, config)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InputError(f"{self.file}: its config is not as Keras 3 writes it: {error!r:.200}") from error

    def network(self, cls: str, config: dict[str, Any]) -> Network:
        raws, inputs, outputs = self.model(cls, config)
        self.classes(raws)
        self.refuse()
        layers = self.layers(raws, inputs)
        self.refuse()
        names = self.names(layers)
        layers = {names[name]: self.renamed(layer, names) for name, layer in layers.items()}
        readers: dict[str, list[str]] = {name: [] for name in layers}
        for layer in layers.values():
            for source in dict.fromkeys(layer.inputs):
                readers[source].append(layer.name)
        if len(set(outputs)) < len(outputs):
            raise InputError(f"{self.file}: an output stands twice in the model's outputs, which a spec cannot write")
        model = re.sub(r"[^A-Za-z0-9_.\-]", "_", str(config.get("name", "model")))
        return Network(
            model if NAME.match(model) else "model",
            self.file,
            layers,
            tuple(names[name] for name in inputs),
            tuple(names[name] for name in outputs),
            tuple(self.remarks),
            readers,
        )

    def refuse(self) -> None:
        if self.refused:
            listed = "\n  ".join(dict.fromkeys(self.refused))
            raise InputError(f"{self.file} cannot be written as a spec:\n  {listed}")

    # -- what a spec can hold -------------------------------------------------------------------------------------

    def classes(self, raws: list[RawLayer]) -> None:
        """Refuse by name what a spec cannot write: classes outside Keras, code, shared layers, other operations."""
        read = {name for raw in raws for name in raw.reads}
        own: dict[str, list[str]] = {}
        for raw in raws:
            if raw.cls == "InputLayer":
                self.input(raw)
                continue
            if raw.calls > 1:
                self.refused.append(f"{raw.name} ({raw.cls}) is called {raw.calls} times; a spec has no shared layers")
            if raw.operation:
                masks = raw.name not in read
                if raw.cls not in _OPERATION_CLASSES and not masks:
                    known = ", ".join(OPERATIONS)
                    self.refused.append(f"{raw.name} is the operation {raw.cls}; a spec holds {known}")
            elif raw.cls in _CODE:
                self.refused.append(f"{raw.name} ({raw.cls}): {FORBIDDEN[raw.cls]}")
            elif _foreign(lookup(raw.cls), raw.entry):
                own.setdefault(raw.cls, []).append(raw.name)
        for cls, names in own.items():
            several = f"{len(names)} layers, the first is {names[0]}" if len(names) > 1 else names[0]
            self.refused.append(f"{cls} is no layer class of Keras' own ({several})")

    def input(self, raw: RawLayer) -> None:
        for key in ("sparse", "ragged", "optional"):
            if raw.config.get(key):
                self.refused.append(f"the input {raw.name} is {key}, which a spec cannot write")
        shape = raw.config.get("batch_shape") or raw.config.get("batch_input_shape")
        if not isinstance(shape, list) or not all(size is None or (type(size) is int and size > 0) for size in shape):
            self.refused.append(f"the input {raw.name} has no shape")
        elif (raw.config.get("dtype") or "float32") not in DTYPES:
            self.refused.append(
                f"the input {raw.name} has the dtype {raw.config['dtype']!r:.40}, which a spec cannot write"
            )
        elif shape[0] is not None:
            self.remarks.append(f"the fixed batch size {shape[0]} of the input {raw.name} is left free")

    def layers(self, raws: list[RawLayer], inputs: list[str]) -> dict[str, Layer]:
        by_name = {raw.name: raw for raw in raws}
        if len(by_name) < len(raws):
            raise InputError(f"{self.file}: two layers have one name")
        pruned = self.pruned(by_name)
        found: dict[str, Layer] = {}
        for name in (*inputs, *(name for name in _sorted(by_name) if name not in inputs)):
            raw = by_name[name]
            if name in pruned:
                continue
            try:
                layer = self.layer(raw)
                unknown = [source for source in layer.inputs if source not in found]
                if unknown and not self.refused:
                    raise Unreadable(f"it reads {unknown[0]}, which does not stand before it")
                found[name] = layer
            except Unreadable as error:
                self.refused.append(f"{name} ({raw.cls}): {error}")
        return found

    def layer(self, raw: RawLayer) -> Layer:
        shape = self.shapes.get(raw.name)
        if raw.cls == "InputLayer":
            sizes = list((raw.config.get("batch_shape") or raw.config["batch_input_shape"])[1:])
            args = {"shape": sizes, "dtype": raw.config.get("dtype") or "float32"}
            return Layer(raw.name, "InputLayer", None, args, (), (None, *sizes))
        if raw.operation:
            cls = _OPERATION_CLASSES[raw.cls]
            if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in raw.constants.values()):
                raise Unreadable("its constant is no number")
            return Layer(raw.name, cls, lookup(cls), dict(raw.constants), tuple(raw.reads), shape)
        facts = lookup(raw.cls)
        assert facts is not None
        if not facts.least <= len(raw.reads) <= (facts.most or len(raw.reads)):
            raise Unreadable(f"it reads {facts.reads_text}. Received: {len(raw.reads)}")
        return Layer(raw.name, facts.name, facts, read_arguments(facts.name, raw.config), tuple(raw.reads), shape)

    def pruned(self, raws: dict[str, RawLayer]) -> set[str]:
        """Operations that compute masks only: Keras makes them again by itself."""
        read = {name for raw in raws.values() if not raw.operation for name in raw.reads}
        used = set(read)
        for name in reversed(_sorted(raws)):
            if name in used and raws[name].operation:
                used.update(raws[name].reads)
        return {
            name
            for name, raw in raws.items()
            if raw.operation and name not in used and raw.cls not in _OPERATION_CLASSES
        }

    def names(self, layers: dict[str, Layer]) -> dict[str, str]:
        """Names that a spec accepts; a remark where one changes."""
        found: dict[str, str] = {}
        taken = set(layers)
        for name in layers:
            new = name
            if not NAME.match(name) or len(name) > 200:
                stem = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:180]
                stem = stem if NAME.match(stem) else f"layer{stem}"
                new = next(n for k in range(len(layers) + 1) if (n := f"{stem}_{k}" if k else stem) not in taken)
                taken.add(new)
                self.remarks.append(f"the layer {name!r} is renamed to {new!r}: a spec's names are plainer")
            found[name] = new
        return found

    def renamed(self, layer: Layer, names: dict[str, str]) -> Layer:
        return replace(layer, name=names[layer.name], inputs=tuple(names[source] for source in layer.inputs))


def _foreign(facts: LayerFacts | None, entry: dict[str, Any]) -> bool:
    """Whether a class is neither Keras' own nor what an installed package registers: its name may be another's too."""
    module, registered = entry.get("module"), entry.get("registered_name")
    if facts is None:
        return True
    if facts.keras_class:
        return not of_package(facts, entry)
    if isinstance(registered, str) and ">" in registered:
        return True
    return isinstance(module, str) and module not in ("keras.layers", "keras")


def _sorted(raws: dict[str, RawLayer]) -> list[str]:
    """Names in an order in which every layer stands behind what it reads, the config's own where that is one."""
    order: list[str] = []
    done: set[str] = set()
    for start in raws:
        pending = [start]
        while pending:
            name = pending[-1]
            if name in done:
                pending.pop()
                continue
            missing = [source for source in raws[name].reads if source not in done]
            if missing and not set(missing) & set(pending):
                pending.extend(reversed(missing))
                continue
            done.add(name)
            order.append(name)
            pending.pop()
    return order
