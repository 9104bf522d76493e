"""The parsed spec: structure checked, every value still a node with its place, nothing expanded.

`=` expressions and Keras arguments are evaluated when the items are expanded (`kbuild.plan.passes.expand`), for their
values depend on the block and the repeat they stand in.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbuild.errors import Source, Span
from kbuild.spec.reader import Mapping, Node, Scalar
from kbuild.spec.settings import Settings
from kbuild.spec.table import Table
from kbuild.spec.train import TrainSettings
from kbuild.spec.writer import write_yaml

#: The format version this kbuild reads.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class InputDecl:
    """One input: `shape` without the batch axis, None where free; `dtype` a Keras dtype name; `because` says why."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    span: Span
    because: str = "input of the spec"


@dataclass(frozen=True, slots=True)
class Reference:
    """A name written after `from` or in `outputs`."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside a layer: kbuild's keys, not Keras'.

    Attributes:
        name: the name node, or None.
        sources: the `from` references; None where the previous layer is meant.
        settings: nodes of `order`, `norm`, `dropout`, `pool`, `role`, by key; may hold expressions.
        when: the node of `when`, or None.
    """

    name: Scalar | None = None
    sources: tuple[Reference, ...] | None = None
    settings: ReadOnly[str, tuple[Scalar, Node]] = field(default_factory=dict)
    when: Node | None = None


@dataclass(frozen=True, slots=True)
class LayerItem:
    """One layer: its class as written, its arguments' node (None for nothing)."""

    cls: str
    args: Node | None
    beside: Beside
    span: Span


@dataclass(frozen=True, slots=True)
class RepeatItem:
    """`repeat: {times, layers}`; the index, counted from 0, is `i` unless `index` names it otherwise."""

    times: Node
    layers: tuple[Item, ...]
    beside: Beside
    span: Span
    index: str = "i"


@dataclass(frozen=True, slots=True)
class BranchesItem:
    """`branches: {merge, paths}`: every path reads the same input; `merge` joins their ends."""

    merge: Node | None
    paths: tuple[tuple[Item, ...], ...]
    beside: Beside
    span: Span


@dataclass(frozen=True, slots=True)
class ResidualItem:
    """`residual: {layers, shortcut, merge}`; `shortcut` is "identity", "auto" or a written-out path.

    `shortcut_first` is the order in which the merge reads the two; None is the merge's own: shortcut first where order
    matters.
    """

    layers: tuple[Item, ...]
    shortcut: str | tuple[Item, ...]
    merge: Node | None
    beside: Beside
    span: Span
    shortcut_first: bool | None = None


@dataclass(frozen=True, slots=True)
class UseItem:
    """`use: NAME` with `with: {...}`: a block declared under `blocks`."""

    block: str
    arguments: Node | None
    beside: Beside
    span: Span


Item = LayerItem | RepeatItem | BranchesItem | ResidualItem | UseItem


@dataclass(frozen=True, slots=True)
class Block:
    """A declared block. `params` maps a name to its default node, or to None where it is required."""

    name: str
    params: ReadOnly[str, Node | None]
    layers: tuple[Item, ...]
    span: Span


@dataclass(frozen=True)
class Spec:
    """A parsed spec.

    Attributes:
        source: the text as read.
        tree: the node tree with overrides applied.
        path: the file, or None for a spec given as text.
        name: the model's name.
        vars: values of `vars`.
        inputs: in the order of the model's inputs.
        outputs: references chosen by `outputs`, or None.
        ordering: what `ordering` says, policy defaults not yet under it.
        blocks: declared blocks by name.
        layers: the items of `layers`.
        train: the `train` section, or None.
        table: the columns that the inputs are, where `input` says `table`.
    """

    source: Source
    tree: Mapping
    path: Path | None
    name: str
    vars: ReadOnly[str, Any]
    inputs: tuple[InputDecl, ...]
    outputs: tuple[Reference, ...] | None
    ordering: Settings
    blocks: ReadOnly[str, Block]
    layers: tuple[Item, ...]
    train: TrainSettings | None
    table: Table | None = None

    @property
    def folder(self) -> Path:
        """The folder that paths in the spec are relative to."""
        return self.path.parent if self.path else Path()

    def resolved_text(self) -> str:
        """The spec as YAML with overrides applied and its name written; reads back to the same spec."""
        rest = tuple(entry for entry in self.tree if entry[0].value not in ("kbuild", "name"))
        head = tuple((Scalar(key, self.tree.span), Scalar(value, self.tree.span)) for key, value in self._head())
        return write_yaml(Mapping((*head, *rest), self.tree.span))

    def _head(self) -> tuple[tuple[str, Any], ...]:
        return (("kbuild", FORMAT), ("name", self.name))
