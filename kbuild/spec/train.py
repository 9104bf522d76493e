"""The `train` section of a spec → `TrainSettings`: data, loss, optimizer and the rest, each with its place.

Nothing here knows TensorFlow. Keras objects are checked by `kbuild.spec.objects` and kept as plain data, the way Keras
serializes them; `kbuild.train` makes them real. One table, `_KEYS`, lists every key with the function that reads it.
(A table and not pydantic: importing pydantic takes a third of the time in which `kbuild summarize` has to answer.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kbuild.errors import Problem, Span, suggest
from kbuild.spec.data import DataSettings, read_data
from kbuild.spec.data_values import word, wrong
from kbuild.spec.names import meant
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of
from kbuild.spec.strategy import Strategy, read_strategy

#: The longest time between two states, in minutes: a month.
_MINUTES = 43_200

#: Values of `precision`: Keras dtype policies that keep the variables in float32.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

#: What weight decay acts on: not γ, β and biases, or all that is trained.
DECAYS = ("weights", "all")

#: Settings of the `train` section that belong to later versions: refused, never ignored.
LATER_KEYS = ("steps_per_epoch",)

#: Callbacks that run code of their own or talk to the network.
_FORBIDDEN_CALLBACKS = {
    "LambdaCallback": "it runs code",
    "LearningRateScheduler": "it runs code; give the optimizer a schedule instead",
    "RemoteMonitor": "it sends the run to an address on the network",
    "BackupAndRestore": "kbuild keeps checkpoints itself",
    "OrbaxCheckpoint": "kbuild keeps checkpoints itself",
    "History": "kbuild adds it itself",
    "ProgbarLogger": "kbuild shows progress itself",
    "CallbackList": "list the callbacks themselves",
    "Callback": "it does nothing",
    "MonitorCallback": "it does nothing",
}


@dataclass(frozen=True)
class Chosen:
    """A Keras object by name.

    Attributes:
        class_name: as Keras knows it, `Adam` or `sparse_categorical_crossentropy`.
        config: its arguments; objects inside are mappings with `class_name` and `config`.
        span: where the spec names it; None for a default.
        target: for a loss or a metric, the output layer it belongs to, None for the only one.
    """

    class_name: str
    config: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    target: str | None = None


@dataclass(frozen=True)
class CheckpointEvery:
    """When a state is written within an epoch.

    Attributes:
        steps: after so many steps, counted over all epochs; None for `minutes` instead.
        minutes: after so much time.
    """

    steps: int | None = None
    minutes: float = 5.0


@dataclass(frozen=True)
class TrainSettings:
    """The `train` section, checked. `spans` holds the place of every key that is written.

    Attributes:
        validation: a share of the training data, 0 for none, or data of its own.
        loss: one entry, or one for each output.
        class_weight: class → weight of its examples in the loss.
        weighted_metrics: metrics that weigh examples as the loss does.
        decay: what an optimizer's weight decay acts on, one of DECAYS.
        precision: a Keras dtype policy.
        augment: layers applied to the inputs while training only.
        recalibrate: whether the statistics of batch normalization are taken anew from the training data at the end.
        checkpoint_every: states within an epoch, beside those at its end.
        strategy: the devices or machines that share each batch; None for one device.
    """

    data: DataSettings
    loss: tuple[Chosen, ...]
    validation: float | DataSettings = 0.1
    optimizer: Chosen = Chosen("Adam")
    metrics: tuple[Chosen, ...] = ()
    weighted_metrics: tuple[Chosen, ...] = ()
    callbacks: tuple[Chosen, ...] = ()
    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    shuffle: bool = True
    deterministic: bool = False
    recalibrate: bool = False
    checkpoint_every: CheckpointEvery = CheckpointEvery()
    strategy: Strategy | None = None
    precision: str = "float32"
    decay: str = "weights"
    augment: tuple[Chosen, ...] = ()
    class_weight: dict[int, float] | None = None
    span: Span | None = None
    spans: dict[str, Span] = field(default_factory=dict)

    def place(self, key: str) -> Span | None:
        """Where `key` is written; the section's own place where it is a default."""
        return self.spans.get(key, self.span)


def read_train(node: Node, problems: list[Problem]) -> TrainSettings | None:
    """Read the `train` section, expressions already evaluated.

    All that is wrong is appended to `problems`; None is returned where anything was.
    """
    if not isinstance(node, Mapping):
        hint = "for example {data: digits, loss: sparse_categorical_crossentropy}"
        problems.append(Problem("wrong-type", f"`train` must be a mapping, not {kind_of(node)}", node.span, hint))
        return None
    before = len(problems)
    values: dict[str, Any] = {}
    for key, value in node:
        name = key.value
        if name in _KEYS:
            values[name] = _KEYS[name](name, value, problems)
        elif name in LATER_KEYS:
            problems.append(Problem("not-yet", f"`{name}` is not part of this version", key.span))
        else:
            hint = suggest(name, _KEYS) or f"keys here: {', '.join(_KEYS)}"
            if name in _OF_OPTIMIZERS:
                hint = f"it belongs to the optimizer: {{Adam: {{{name}: ...}}}}"
            elif name in _OF_DATA:
                hint = f"it belongs to the data: `data: {{npz: FILE, {name}: ...}}`"
            problems.append(Problem("unknown-key", f"`train` has no setting {name[:60]!r}", key.span, hint))
    for name, hint in _NEEDED.items():
        if node.key(name) is None and not meant(node, TRAIN_KEYS, (name,)):
            problems.append(Problem("missing-key", f"`train` needs `{name}`", node.span, hint))
    if len(problems) > before:
        return None
    return TrainSettings(**values, span=node.span, spans={key.value: value.span for key, value in node})


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(low: int, high: int) -> Callable[[str, Node, list[Problem]], Any]:
    def read(name: str, node: Node, problems: list[Problem]) -> int | None:
        if isinstance(node, Scalar) and _is_int(node.value) and low <= node.value <= high:
            return int(node.value)
        wrong(name, f"a whole number from {low} to {high}", node, problems)
        return None

    return read


def _flag(name: str, node: Node, problems: list[Problem]) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    wrong(name, "true or false", node, problems)
    return None


def _checkpoint_every(name: str, node: Node, problems: list[Problem]) -> CheckpointEvery | None:
    if isinstance(node, Mapping) and [key.value for key, _ in node] == ["minutes"]:
        value = node.entries[0][1]
        if isinstance(value, Scalar) and _is_number(value.value) and 0 < value.value <= _MINUTES:
            return CheckpointEvery(minutes=float(value.value))
        wrong(f"{name}.minutes", f"a number above 0 and up to {_MINUTES:,}", value, problems)
        return None
    if isinstance(node, Scalar):
        steps = _whole(1, 1_000_000_000)(name, node, problems)
        return None if steps is None else CheckpointEvery(steps)
    wrong(name, "a number of steps, or {minutes: 5}", node, problems)
    return None


def _precision(name: str, node: Node, problems: list[Problem]) -> str | None:
    if isinstance(node, Scalar) and node.value in PRECISIONS:
        return str(node.value)
    hint = suggest(node.value, PRECISIONS) if isinstance(node, Scalar) and isinstance(node.value, str) else ""
    wrong(name, f"one of {', '.join(PRECISIONS)}", node, problems, hint)
    return None


def _validation(name: str, node: Node, problems: list[Problem]) -> float | DataSettings | None:
    if isinstance(node, Scalar) and not isinstance(node.value, str):
        if _is_number(node.value) and 0 <= node.value < 1:
            return float(node.value)
        wrong(name, "a share from 0 (none) to below 1, or data of its own", node, problems)
        return None
    return read_data(name, node, problems)


def _object(kind: str, node: Node, problems: list[Problem], target: str | None = None) -> Chosen | None:
    from kbuild.spec.objects import read_object

    found = read_object(kind, node, problems)
    if isinstance(found, str):  # a name that Keras resolves itself
        return Chosen(found, {}, node.span, target)
    return Chosen(found["class_name"], dict(found.get("config") or {}), node.span, target) if found else None


def _optimizer(name: str, node: Node, problems: list[Problem]) -> Chosen | None:
    return _object("optimizer", node, problems)


def _losses(name: str, node: Node, problems: list[Problem]) -> tuple[Chosen, ...]:
    """One loss; or, for several outputs, a mapping (of two or more) from output layers to losses."""
    if isinstance(node, Mapping) and len(node) > 1:
        return tuple(filter(None, (_object("loss", value, problems, key.value) for key, value in node)))
    chosen = _object("loss", node, problems)
    return (chosen,) if chosen else ()


def _metrics(name: str, node: Node, problems: list[Problem]) -> tuple[Chosen, ...]:
    """One metric or a list; or, for several outputs, a mapping (of two or more) from output layers to lists."""
    if isinstance(node, Mapping) and len(node) > 1:
        return tuple(one for key, value in node for one in _list("metric", value, problems, key.value))
    return _list("metric", node, problems)


def _list(kind: str, node: Node, problems: list[Problem], target: str | None = None) -> tuple[Chosen, ...]:
    items = node.items if isinstance(node, Items) else () if _empty(node) else (node,)
    return tuple(filter(None, (_object(kind, item, problems, target) for item in items)))


def _empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _callbacks(name: str, node: Node, problems: list[Problem]) -> tuple[Chosen, ...]:
    chosen: list[Chosen] = []
    for item in node.items if isinstance(node, Items) else () if _empty(node) else (node,):
        called = item.value if isinstance(item, Scalar) else None
        if isinstance(item, Mapping) and len(item) == 1:
            called = item.entries[0][0].value
        if called in _FORBIDDEN_CALLBACKS:
            why = _FORBIDDEN_CALLBACKS[called]
            problems.append(Problem("unknown-name", f"the callback {called} is refused: {why}", item.span))
            continue
        one = _object("callback", item, problems)
        chosen += [one] if one else []
    return tuple(chosen)


def _augment(name: str, node: Node, problems: list[Problem]) -> tuple[Chosen, ...]:
    chosen = _list("layer", node, problems)
    for one in chosen:
        if not one.class_name.startswith("Random") and one.class_name not in ("AutoContrast", "GaussianNoise"):
            message = f"`augment` takes Keras' Random... layers that change inputs alone, not {one.class_name}"
            problems.append(Problem("not-yet", message, one.span))
    return chosen


def _class_weight(name: str, node: Node, problems: list[Problem]) -> dict[int, float] | None:
    if not isinstance(node, Mapping) or not len(node):
        wrong(name, "a mapping from class numbers to weights", node, problems, "for example {0: 1, 1: 5}")
        return None
    weights = {}
    for key, value in node:
        if not key.value.isdecimal() or len(key.value) > 9:
            problems.append(Problem("wrong-type", f"the class {key.value!r} is not a number from 0", key.span))
        elif not (isinstance(value, Scalar) and _is_number(value.value) and value.value >= 0):
            wrong(f"class_weight.{key.value}", "a number from 0", value, problems)
        else:
            weights[int(key.value)] = float(value.value)
    return weights


_KEYS: dict[str, Callable[[str, Node, list[Problem]], Any]] = {
    "data": read_data,
    "validation": _validation,
    "loss": _losses,
    "optimizer": _optimizer,
    "metrics": _metrics,
    "weighted_metrics": _metrics,
    "callbacks": _callbacks,
    "epochs": _whole(1, 1_000_000),
    "batch_size": _whole(1, 10_000_000),
    "seed": _whole(0, 2**31 - 1),
    "shuffle": _flag,
    "deterministic": _flag,
    "recalibrate": _flag,
    "checkpoint_every": _checkpoint_every,
    "strategy": read_strategy,
    "precision": _precision,
    "decay": word(*DECAYS).read,
    "augment": _augment,
    "class_weight": _class_weight,
}

#: Every key of the section.
TRAIN_KEYS = (*_KEYS, *LATER_KEYS)

#: Arguments of optimizers that are often written beside them.
_OF_OPTIMIZERS = (
    *("learning_rate", "lr", "momentum", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm"),
    *("use_ema", "ema_momentum", "gradient_accumulation_steps"),
)

#: Keys that stand under `data`.
_OF_DATA = ("sample_weight", "classes", "x", "y")

_NEEDED = {
    "data": "for example `data: digits` or `data: {npz: FILE}`",
    "loss": "for example `loss: sparse_categorical_crossentropy`",
}
