"""Names of layers and other Keras objects that a spec cannot use: what is said of them."""

from __future__ import annotations

from kbuild.catalog import facts
from kbuild.catalog.layers import FORBIDDEN, lookup
from kbuild.errors import Problem, Span, suggest

#: Metric names that Keras resolves when it sees the targets.
METRIC_WORDS = ("accuracy", "acc")

#: Callbacks that take a Python function, and where else it belongs.
_FUNCTIONS = {
    "LambdaCallback": "it runs a Python function",
    "LearningRateScheduler": "it runs a Python function; write a schedule as the optimizer's learning_rate",
    "RemoteMonitor": "it sends the training's data to a server",
}


def unknown_layer(name: str, span: Span, also: tuple[str, ...] = ()) -> Problem:
    """The problem of a name that is no layer class a spec may use; `also` are words that could stand there as well."""
    if name in FORBIDDEN:
        return Problem("forbidden-layer", f"{name} cannot be used in a spec", span, FORBIDDEN[name])
    if refused := facts.refused_layer(name):
        return Problem("plugin", refused.complaint, span, refused.refusal)
    hint = suggest(name, (*facts.known_names("layer"), *also))
    before, colon, _ = name.partition(":")
    if colon and lookup(before) is not None:
        hint = f"put a blank behind the colon: {before}: ..."
    return Problem(
        "unknown-layer", f"there is no layer class {name[:60]!r}", span, _without_module("layer", name) or hint
    )


def _without_module(kind: str, name: str) -> str:
    """A hint for a dotted name whose last part Keras knows, such as `keras.layers.Dense`."""
    last = name.rpartition(".")[2]
    return f"write {last}" if last != name and facts.signature(kind, last) is not None else ""


def unknown_name(kind: str, name: str, span: Span) -> Problem:
    if kind == "callback" and name in _FUNCTIONS:
        return Problem("unknown-name", f"{name} cannot be used in a spec", span, _FUNCTIONS[name])
    words = (*facts.known_names(kind), *(METRIC_WORDS if kind == "metric" else ()))
    hint = _without_module(kind, name) or suggest(name, words)
    return Problem("unknown-name", f"there is no {kind} {name[:60]!r}", span, hint)
