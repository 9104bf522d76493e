"""Spec → Plan: expansion, then the passes in their one order, then the plan as plain data."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kbuild.catalog.layers import differs
from kbuild.errors import InternalError, KbuildError, Problem, Span, SpecError
from kbuild.plan.graph import Graph, Node, Pass, Scope, Unit, full_name
from kbuild.plan.passes import (
    bias,
    close,
    dropout_kind,
    edges,
    fold,
    fuse,
    infer,
    name,
    place,
    precision,
    project,
    residual,
    settle,
)
from kbuild.plan.passes.expand import expand
from kbuild.plan.plan import Frame, Place, Plan, PlannedLayer, PlannedUnit
from kbuild.spec.load import read_spec
from kbuild.spec.model import Spec

#: Every pass, in the order they run. A pass with `gate` stops the compilation if problems were found up to it.
PASSES: tuple[Pass, ...] = (
    project.PROJECT,
    edges.PRUNE,
    edges.EDGES,
    settle.SETTLE,
    place.PLACE,
    residual.RESIDUAL,
    close.CLOSE,
    fuse.FUSE,
    precision.PRECISION,
    name.NAME,
    bias.BIAS,
    infer.INFER,
    dropout_kind.KIND,
    fold.FOLD,
)


def compile_spec(path: str | Path, ordering: str | None = None, overrides: Iterable[str] = ()) -> tuple[Spec, Plan]:
    """Read a spec and plan it.

    Args:
        path: the YAML file.
        ordering: a policy's name or an order that replaces the spec's own.
        overrides: `a.b=c` texts, as `--set` takes them.

    Raises:
        SpecError: every problem of the file at once, whichever stage found it.
    """
    problems: list[Problem] = []
    with _uncollected():
        spec = read_spec(path, ordering, overrides, problems)
        if spec is None:
            raise SpecError(problems)
        return spec, _compile(spec, problems)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cyclic garbage collection: all that planning makes stays alive until its end, and looking at it over and over
    takes half of the time of a plan of 40,000 layers."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            # Freezing and unfreezing moves what is alive into the oldest generation, so that it is not looked at now.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def plan_spec(spec: Spec) -> Plan:
    """Plan a spec that was read without problems.

    Raises:
        SpecError: every problem at once.
    """
    return _compile(spec, [])


def _compile(spec: Spec, problems: list[Problem]) -> Plan:
    graph = expand(spec, problems)
    if problems:
        raise SpecError(problems)
    graph.precision = spec.train.precision if spec.train is not None else graph.precision
    done: set[str] = set()
    for step in PASSES:
        run_pass(step, graph, done)
        if step.gate and graph.problems:
            raise SpecError(graph.problems)
    if graph.problems:
        raise SpecError(graph.problems)
    return freeze(graph)


def run_pass(step: Pass, graph: Graph, done: set[str]) -> None:
    """Run one pass.

    Raises:
        InternalError: the pass failed, or what it requires has not run; the message names it.
    """
    missing = [required for required in step.requires if required not in done]
    if missing:
        raise InternalError(f"the pass {step.name} requires {', '.join(missing)} before it")
    try:
        step.run(graph)
    except KbuildError:
        raise
    except Exception as error:
        raise InternalError(f"the pass {step.name} failed: {type(error).__name__}: {error}") from error
    done.add(step.name)


def freeze(graph: Graph) -> Plan:
    """The resolved graph as plain data."""
    ordering = graph.ordering
    assert ordering.order is not None
    unit_of = {id(node): unit for unit in graph.units for node in unit.letters.values()}
    frames: dict[Scope, tuple[Frame, ...]] = {}
    return Plan(
        name=graph.name,
        policy=ordering.policy.value if ordering.policy else None,
        order=str(ordering.order.value),
        ordering_because=ordering.order.because,
        layers=tuple(_layer(node, unit_of.get(id(node)), _frames(node.scope, frames)) for node in graph.nodes),
        units=tuple(_unit(unit) for unit in graph.units),
        outputs=tuple(node.name for node in graph.outputs),
        heads={node.name: tuple(head.name for head in edges.heads_of(node)) for node in graph.outputs},
        notes=tuple(graph.notes),
    )


def _place(span: Span) -> Place:
    return Place(span.source.name, span.line, span.column)


def _frames(scope: Scope, known: dict[Scope, tuple[Frame, ...]]) -> tuple[Frame, ...]:
    """The blocks and rounds around a scope, outermost first; `known` keeps what was found."""
    if scope.parent is None:
        return ()
    if scope not in known:
        label = full_name(scope, "")[:-1] if scope.label else ""
        place = _place(scope.span) if scope.span else None
        known[scope] = (*_frames(scope.parent, known), Frame(scope.block, label, place, scope.round))
    return known[scope]


def _layer(node: Node, unit: Unit | None, within: tuple[Frame, ...]) -> PlannedLayer:
    config = dict(node.args)
    if node.role != "input":
        config = differs(node.cls, config)
        if node.role == "W" and "use_bias" in node.args:
            config["use_bias"] = node.args["use_bias"]
    letter = node.role if node.role in ("W", "N", "A", "D") or (node.role == "P" and unit is not None) else None
    return PlannedLayer(
        name=node.name,
        cls=node.cls,
        role=letter,
        unit=unit.node.name if unit else None,
        inputs=tuple(source.name for source in node.inputs),
        config=config,
        output_shape=node.shape,
        params=node.weights,
        trainable_params=node.trainable,
        because=node.because,
        source=_place(node.span),
        bias_because=node.bias_because,
        folds_into=node.folds_into.name if node.folds_into else None,
        fold_because=node.fold_because,
        settings=node.settings,
        within=within,
    )


def _unit(unit: Unit) -> PlannedUnit:
    activation = unit.activation.value
    assert unit.settings.order is not None
    return PlannedUnit(
        name=unit.node.name,
        order=str(unit.settings.order.value),
        role=unit.role,
        layers={letter: node.name for letter, node in unit.letters.items()},
        elided=unit.elided,
        dropped=unit.dropped,
        moved=unit.moved,
        activation=activation["class_name"] if isinstance(activation, dict) else activation,
        source=_place(unit.node.span),
    )
