"""Node tree → Spec: the structure of every key checked, all problems collected.

`=` in `vars`, `input`, `ordering` and `train` is evaluated here; inside `layers` and `blocks` it waits for the place of
use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as ReadOnly
from pathlib import Path
from typing import Any

from kbuild.errors import Problem, Span, suggest
from kbuild.spec.items import read_blocks, read_items, read_references
from kbuild.spec.model import FORMAT, InputDecl, Reference, Spec
from kbuild.spec.names import NAME, meant, valid_name
from kbuild.spec.ordering import ORDERING_KEYS, read_ordering
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of, plain
from kbuild.spec.resolve import resolve
from kbuild.spec.table import Table, read_table
from kbuild.spec.train import TRAIN_KEYS, read_train

TOP_KEYS = ("kbuild", "name", "vars", "include", "input", "inputs", "outputs", "ordering", "blocks", "layers", "train")
_INPUT_KEYS = ("shape", "dtype", "table")
#: What `dtype` of an input may say.
DTYPES: tuple[str, ...] = ("float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64")
DTYPES += ("uint8", "uint16", "uint32", "uint64", "bool", "string")
LIMITS = {"input-rank": 8}


def parse(tree: Node, path: Path | None, problems: list[Problem]) -> Spec | None:
    """Check the structure of a whole spec.

    Args:
        tree: the document's root, included blocks in it.
        path: the file it came from, for its default name and its folder.
        problems: collects everything wrong.

    Returns:
        The spec, with what could be read where problems were found, or None where nothing could.
    """
    if isinstance(tree, Scalar) and tree.value is None:
        message, hint = "there is nothing in the file but comments", "`kbuild init` writes a starter spec"
        problems.append(Problem("file", message, Span(tree.span.source, 1, 1), hint))
        return None
    if not isinstance(tree, Mapping):
        message = f"a spec is a mapping with keys such as `input` and `layers`, not {kind_of(tree)}"
        problems.append(Problem("wrong-type", message, tree.span))
        return None
    for key, _ in tree:
        if key.value not in TOP_KEYS:
            message = f"a spec has no key {key.value[:60]!r}"
            problems.append(Problem("unknown-key", message, key.span, _belongs(key.value)))
    _version(tree.get("kbuild"), problems)
    names = _vars(tree.get("vars"), problems)
    train = tree.get("train")
    ordering = tree.get("ordering")
    inputs, table = _inputs(tree, names, problems)
    return Spec(
        source=tree.span.source,
        tree=tree,
        path=path,
        name=_name(tree.get("name"), path, problems),
        vars=names,
        inputs=inputs,
        outputs=_outputs(tree.get("outputs"), problems),
        ordering=read_ordering(None if ordering is None else resolve(ordering, names, problems), problems),
        blocks=read_blocks(tree.get("blocks"), problems),
        layers=_layers(tree, problems),
        train=None if train is None else read_train(resolve(train, names, problems), problems),
        table=table,
    )


def _belongs(key: str) -> str:
    """A hint for a key that means nothing at the top of a spec."""
    for section, keys in (("train", TRAIN_KEYS), ("ordering", ("policy", "order", *ORDERING_KEYS))):
        if key in keys:
            return f"`{key}` stands under `{section}`"
    return suggest(key, TOP_KEYS) or f"keys here: {', '.join(TOP_KEYS)}"


def _version(node: Node | None, problems: list[Problem]) -> None:
    if node is not None and not (isinstance(node, Scalar) and node.value == FORMAT and node.value is not True):
        hint = "write kbuild: 1, or leave it out"
        problems.append(Problem("version", f"this kbuild reads format {FORMAT}, not {kind_of(node)}", node.span, hint))


def _name(node: Node | None, path: Path | None, problems: list[Problem]) -> str:
    fallback = re.sub(r"[^A-Za-z0-9_.\-]", "_", path.stem) if path else "model"
    fallback = fallback if NAME.match(fallback) else "model"
    if node is None:
        return fallback
    return node.value if valid_name(node, problems) else fallback  # type: ignore[union-attr]


def _vars(node: Node | None, problems: list[Problem]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    if node is None:
        return names
    if not isinstance(node, Mapping):
        message = f"`vars` takes a mapping of names to values, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span, "for example {width: 32}"))
        return names
    for key, value in node:
        if not key.value.isidentifier() or key.value == "i":
            why = "`i` is the index of repeat" if key.value == "i" else "a letter, then letters, digits and '_'"
            problems.append(Problem("bad-name", f"{key.value[:60]!r} cannot name a var", key.span, why))
            continue
        before = len(problems)
        found = plain(resolve(value, names, problems))
        # A stand-in, so that what uses the name is not reported again.
        names[key.value] = found if len(problems) == before else 1
    return names


def _inputs(
    tree: Mapping, names: ReadOnly[str, Any], problems: list[Problem]
) -> tuple[tuple[InputDecl, ...], Table | None]:
    """The inputs, and the table whose columns they are, if one is written."""
    one, many = tree.get("input"), tree.get("inputs")
    if one is not None and many is not None:
        key = tree.key("inputs")
        assert key is not None
        problems.append(Problem("unknown-key", "`input` and `inputs` exclude each other", key.span, "keep one"))
    if one is not None:
        resolved = resolve(one, names, problems)
        if isinstance(resolved, Mapping) and resolved.get("table") is not None:
            return _table(resolved, problems)
        return (_input("input", resolved, problems, one.span),), None
    if many is None:
        hint = "for example  input: {shape: [28, 28, 1]}"
        if not meant(tree, TOP_KEYS, ("input", "inputs")):
            problems.append(Problem("missing-key", "a spec needs `input` or `inputs`", tree.span, hint))
        return (InputDecl("input", (), "float32", tree.span),), None
    if not isinstance(many, Mapping) or not many.entries:
        expected = "a mapping of names to {shape: [...]}"
        what = "an empty one" if isinstance(many, Mapping) else kind_of(many)
        problems.append(Problem("wrong-type", f"`inputs` takes {expected}, not {what}", many.span))
        return (InputDecl("input", (), "float32", many.span),), None
    for key, _ in many:
        valid_name(key, problems)
    pairs = [(key, resolve(value, names, problems)) for key, value in many]
    return tuple(_input(key.value, value, problems, key.span) for key, value in pairs), None


def _table(node: Mapping, problems: list[Problem]) -> tuple[tuple[InputDecl, ...], Table | None]:
    """An input for every column of `table`; a stand-in where it is wrong."""
    for key, _ in node:
        if key.value != "table":
            message = f"`{key.value[:60]}` does not stand beside `table`"
            hint = "every column is an input of the shape [1]; its type follows from the table"
            problems.append(Problem("unknown-key", message, key.span, hint if key.value in _INPUT_KEYS else ""))
    place, value = node.key("table"), node.get("table")
    assert place is not None and value is not None
    table = read_table(value, place.span, problems)
    if table is None:
        return (InputDecl("input", (), "float32", node.span),), None
    numbers = {id(column) for column in table.numeric}
    return tuple(
        InputDecl(
            column.input,
            (1,),
            column.dtype,
            column.span,
            f"{'numeric' if id(column) in numbers else 'category'} column {column.name!r} of the table",
        )
        for column in table.columns
    ), table


def _input(name: str, node: Node, problems: list[Problem], span: Span) -> InputDecl:
    """One input; where something is wrong, a stand-in of that name, so that layers can still be read."""
    stand_in = InputDecl(name, (), "float32", span)
    if not isinstance(node, Mapping):
        message = f"an input is a mapping, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span, "for example {shape: [28, 28, 1]}"))
        return stand_in
    if node.key("table") is not None:
        message, hint = "`table` stands under `input`", "several columns are several inputs: input: {table: {...}}"
        problems.append(Problem("unknown-key", message, node.span, hint))
        return stand_in
    for key, _ in node:
        if key.value not in _INPUT_KEYS:
            hint = suggest(key.value, _INPUT_KEYS) or f"keys here: {', '.join(_INPUT_KEYS)}"
            problems.append(Problem("unknown-key", f"an input has no key {key.value[:60]!r}", key.span, hint))
    shape = node.get("shape")
    if shape is None:
        message = f"the input {name!r} needs a shape"
        if not meant(node, _INPUT_KEYS, ("shape",)):
            problems.append(Problem("missing-key", message, node.span, "for example shape: [28, 28, 1]"))
        return stand_in
    if not isinstance(shape, Items) or not all(map(_size, shape.items)):
        wrong = next((item for item in shape.items if not _size(item)), shape) if isinstance(shape, Items) else shape
        expected = "a list of positive integers (null where free), without the batch axis"
        hint = f"write [{plain(wrong)}]" if wrong is shape and _size(shape) and plain(shape) else ""
        problems.append(Problem("wrong-type", f"`shape` takes {expected}, not {kind_of(wrong)}", wrong.span, hint))
        return stand_in
    if len(shape.items) > LIMITS["input-rank"]:
        limit = f"the limit input-rank ({LIMITS['input-rank']})"
        problems.append(Problem("limit", f"a shape of more axes than {limit}", shape.span))
        return stand_in
    dtype = node.get("dtype")
    if dtype is not None and (not isinstance(dtype, Scalar) or dtype.value not in DTYPES):
        hint = suggest(str(plain(dtype)), DTYPES) or f"dtypes: {', '.join(DTYPES)}"
        problems.append(Problem("wrong-type", f"`dtype` takes a Keras dtype, not {kind_of(dtype)}", dtype.span, hint))
        return stand_in
    return InputDecl(name, tuple(plain(shape)), plain(dtype) if dtype else "float32", span)


def _size(node: Node) -> bool:
    return isinstance(node, Scalar) and (node.value is None or (type(node.value) is int and 0 < node.value <= 2**31))


def _outputs(node: Node | None, problems: list[Problem]) -> tuple[Reference, ...] | None:
    if node is None:
        return None
    return read_references(node, "outputs", problems)


def _layers(tree: Mapping, problems: list[Problem]) -> tuple[Any, ...]:
    node = tree.get("layers")
    if node is None:
        hint = "for example  layers: [{Dense: 10}]"
        if not meant(tree, TOP_KEYS, ("layers",)):
            problems.append(Problem("missing-key", "a spec needs `layers`", tree.span, hint))
        return ()
    if isinstance(node, Items) and not node.items:
        problems.append(Problem("missing-head", "`layers` is empty: there is nothing to build", node.span))
    return read_items(node, "`layers`", problems)
