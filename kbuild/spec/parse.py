"""Node tree → Spec: the structure of every key checked, all problems collected.

`=` in `vars`, `input`, `ordering` and `train` is evaluated here; inside `layers` and `blocks` it waits for the place of
use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping as ReadOnly
from pathlib import Path
from typing import Any

from kbuild.errors import Problem, Span, suggest
from kbuild.spec.items import read_blocks, read_items, read_references
from kbuild.spec.model import FORMAT, InputDecl, Reference, Spec
from kbuild.spec.names import NAME, valid_name
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of, plain
from kbuild.spec.resolve import resolve
from kbuild.spec.settings import read_ordering
from kbuild.spec.train import read_train

TOP_KEYS = ("kbuild", "name", "vars", "include", "input", "inputs", "outputs", "ordering", "blocks", "layers", "train")
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64")
_DTYPES += ("uint8", "uint16", "uint32", "uint64", "bool", "string")


def parse(tree: Node, path: Path | None, problems: list[Problem]) -> Spec | None:
    """Check the structure of a whole spec.

    Args:
        tree: the document's root.
        path: the file it came from, for its default name and its folder.
        problems: collects everything wrong.

    Returns:
        The spec, with what could be read where problems were found, or None where nothing could.
    """
    if not isinstance(tree, Mapping):
        problems.append(
            Problem("wrong-type", f"a spec is a mapping with keys such as input and layers, not {kind_of(tree)}", tree.span)
        )
        return None
    for key, _ in tree:
        if key.value not in TOP_KEYS:
            hint = suggest(key.value, TOP_KEYS) or f"keys here: {', '.join(TOP_KEYS)}"
            problems.append(Problem("unknown-key", f"a spec has no key {key.value!r}", key.span, hint))
    _version(tree.get("kbuild"), problems)
    names = _vars(tree.get("vars"), problems)
    train = tree.get("train")
    ordering = tree.get("ordering")
    return Spec(
        source=tree.span.source,
        tree=tree,
        path=path,
        name=_name(tree.get("name"), path, problems),
        vars=names,
        inputs=_inputs(tree, names, problems),
        outputs=_outputs(tree.get("outputs"), problems),
        ordering=read_ordering(None if ordering is None else resolve(ordering, names, problems), problems),
        blocks=read_blocks(tree.get("blocks"), problems),
        layers=_layers(tree, problems),
        train=None if train is None else read_train(resolve(train, names, problems), problems),
    )


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
        problems.append(Problem("wrong-type", f"vars takes a mapping of names to values, not {kind_of(node)}", node.span))
        return names
    for key, value in node:
        if not key.value.isidentifier() or key.value == "i":
            why = "`i` is the index of repeat" if key.value == "i" else "a var is a letter, then letters, digits and '_'"
            problems.append(Problem("bad-name", f"{key.value!r} cannot name a var: {why}", key.span))
            continue
        names[key.value] = plain(resolve(value, names, problems))
    return names


def _inputs(tree: Mapping, names: ReadOnly[str, Any], problems: list[Problem]) -> tuple[InputDecl, ...]:
    one, many = tree.get("input"), tree.get("inputs")
    if one is not None and many is not None:
        key = tree.key("inputs")
        assert key is not None
        problems.append(Problem("unknown-key", "`input` and `inputs` exclude each other", key.span, "keep one"))
    if one is not None:
        return tuple(_input("input", resolve(one, names, problems), problems))
    if many is None:
        hint = "for example  input: {shape: [28, 28, 1]}"
        problems.append(Problem("missing-key", "a spec needs `input` or `inputs`", tree.span, hint))
        return ()
    if not isinstance(many, Mapping) or not many.entries:
        expected = "a mapping of names to {shape: [...]}"
        problems.append(Problem("wrong-type", f"inputs takes {expected}, not {kind_of(many)}", many.span))
        return ()
    found: list[InputDecl] = []
    for key, value in many:
        if valid_name(key, problems):
            found.extend(_input(key.value, resolve(value, names, problems), problems, key.span))
    return tuple(found)


def _input(name: str, node: Node, problems: list[Problem], span: Span | None = None) -> Iterable[InputDecl]:
    if not isinstance(node, Mapping):
        message = f"an input is a mapping, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span, "for example {shape: [28, 28, 1]}"))
        return
    for key, _ in node:
        if key.value not in ("shape", "dtype"):
            hint = suggest(key.value, ("shape", "dtype")) or "keys here: shape, dtype"
            problems.append(Problem("unknown-key", f"an input has no key {key.value!r}", key.span, hint))
    shape = node.get("shape")
    if shape is None:
        message = f"the input {name!r} needs a shape"
        problems.append(Problem("missing-key", message, node.span, "for example shape: [28, 28, 1]"))
        return
    sizes = plain(shape)
    expected = "a list of positive integers (null where free), without the batch axis"
    if not isinstance(sizes, list) or not all(s is None or (type(s) is int and 0 < s <= 2**31) for s in sizes):
        at = next((i.span for i in getattr(shape, "items", ()) if not _size(i)), shape.span)
        problems.append(Problem("wrong-type", f"shape takes {expected}", at))
        return
    if len(sizes) > 8:
        problems.append(Problem("limit", "a shape of more axes than the limit input-rank (8)", shape.span))
        return
    dtype = node.get("dtype")
    if dtype is not None and plain(dtype) not in _DTYPES:
        hint = suggest(str(plain(dtype)), _DTYPES) or f"dtypes: {', '.join(_DTYPES)}"
        problems.append(Problem("wrong-type", f"dtype takes a Keras dtype, not {kind_of(dtype)}", dtype.span, hint))
        dtype = None
    yield InputDecl(name, tuple(sizes), plain(dtype) if dtype else "float32", span or node.span)


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
        problems.append(Problem("missing-key", "a spec needs `layers`", tree.span, hint))
        return ()
    if isinstance(node, Items) and not node.items:
        problems.append(Problem("missing-head", "`layers` is empty: there is nothing to build", node.span))
    return read_items(node, "layers", problems)

