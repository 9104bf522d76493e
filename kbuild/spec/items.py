"""The entries of `layers` and `blocks`: layers, repeats, branches, residuals and uses, as written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kbuild.catalog import facts
from kbuild.errors import Problem, suggest
from kbuild.spec.model import (
    Beside,
    Block,
    BranchesItem,
    Item,
    LayerItem,
    Reference,
    RepeatItem,
    ResidualItem,
    UseItem,
)
from kbuild.spec.names import meant, valid_name
from kbuild.spec.ordering import UNIT_KEYS
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of, plain

BESIDE = ("name", "from", *UNIT_KEYS, "when", "with")
STRUCTURES = ("repeat", "branches", "residual", "use")

Problems = list[Problem]


def read_items(node: Node, where: str, problems: Problems) -> tuple[Item, ...]:
    """A list of entries, each a layer or a structure; `where` is what messages call the list."""
    if not isinstance(node, Items):
        hint = "put a dash before each layer"
        if not where.startswith("`"):
            hint = "put it in brackets: [{...}]"
        problems.append(Problem("wrong-type", f"{where} takes a list of layers, not {kind_of(node)}", node.span, hint))
        return ()
    found = (_item(entry, problems) for entry in node.items)
    return tuple(item for item in found if item is not None)


def read_references(node: Node, where: str, problems: Problems) -> tuple[Reference, ...]:
    """One name or a list of names."""
    nodes = node.items if isinstance(node, Items) else (node,)
    found = []
    for item in nodes:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append(Reference(item.value, item.span))
        else:
            problems.append(Problem("wrong-type", f"`{where}` takes names of layers, not {kind_of(item)}", item.span))
    if not nodes:
        problems.append(Problem("wrong-type", f"`{where}` names no layer", node.span))
    return tuple(found)


def _item(entry: Node, problems: Problems) -> Item | None:
    if isinstance(entry, Scalar) and isinstance(entry.value, str):
        return LayerItem(entry.value, None, Beside(), entry.span)
    if not isinstance(entry, Mapping):
        message = f"an entry of layers is a layer such as {{Dense: 10}}, not {kind_of(entry)}"
        problems.append(Problem("wrong-type", message, entry.span))
        return None
    what = [pair for pair in entry if pair[0].value not in BESIDE]
    if not what:
        hint = "it has only keys that stand beside a layer" if entry.entries else "for example {Dense: 10}"
        problems.append(Problem("missing-key", "this entry names no layer", entry.span, hint))
        return None
    structures = [pair for pair in what if pair[0].value in STRUCTURES]
    (head, body), rest = (structures or what)[0], [pair for pair in what if pair is not (structures or what)[0]]
    signature = facts.signature("layer", head.value)
    for key, value in rest:
        if key.value in facts.known_names("layer") or key.value in STRUCTURES:
            message = f"one layer per entry; {head.value!r} stands here already"
            problems.append(Problem("unknown-key", message, key.span, "begin a new entry with a dash"))
            continue
        hint = suggest(key.value, BESIDE) or f"keys beside a layer: {', '.join(key for key in BESIDE if key != 'with')}"
        if signature is not None and key.value in signature.arguments:
            hint = f"it is an argument: {head.value}: {{{key.value}: ...}}; or indent it deeper"
            body = _with_argument(body, key, value)
        problems.append(Problem("unknown-key", f"{key.value[:60]!r} does not stand beside a layer", key.span, hint))
    beside = _beside(entry, head, problems)
    if head.value == "repeat":
        return _repeat(body, beside, head, problems)
    if head.value == "branches":
        return _branches(body, beside, head, problems)
    if head.value == "residual":
        return _residual(body, beside, head, problems)
    if head.value == "use":
        return _use(body, entry.get("with"), beside, head, problems)
    empty = isinstance(body, Scalar) and body.value is None
    return LayerItem(head.value, None if empty else body, beside, head.span)


def _with_argument(body: Node, key: Scalar, value: Node) -> Node:
    """The arguments with one that was written a level too high, so that it is not reported missing as well."""
    if isinstance(body, Mapping):
        return Mapping((*body.entries, (key, value)), body.span)
    return Mapping(((key, value),), key.span) if isinstance(body, Scalar) and body.value is None else body


def _beside(entry: Mapping, head: Scalar, problems: Problems) -> Beside:
    name, source, when = entry.get("name"), entry.get("from"), entry.get("when")
    if name is not None and not valid_name(name, problems):
        name = None
    if head.value != "use" and (key := entry.key("with")) is not None:
        message = "`with` gives arguments to a block, beside `use`"
        problems.append(Problem("unknown-key", message, key.span))
    return Beside(
        name=name if isinstance(name, Scalar) else None,
        sources=read_references(source, "from", problems) if source is not None else None,
        settings={key.value: (key, value) for key, value in entry if key.value in UNIT_KEYS},
        when=when,
    )


@dataclass(frozen=True, slots=True)
class _Body:
    """The mapping below a structure's key, its keys checked."""

    node: Mapping

    def get(self, key: str) -> Node | None:
        return self.node.get(key)


def _body(node: Node, what: str, keys: tuple[str, ...], required: tuple[str, ...], problems: Problems) -> _Body | None:
    if not isinstance(node, Mapping):
        message = f"{what} takes a mapping, not {kind_of(node)}"
        hint = f"for example {{{', '.join(f'{key}: ...' for key in required)}}}"
        problems.append(Problem("wrong-type", message, node.span, hint))
        return None
    for key, _ in node:
        if key.value not in keys:
            hint = suggest(key.value, keys) or f"keys here: {', '.join(keys)}"
            problems.append(Problem("unknown-key", f"{what} has no key {key.value[:60]!r}", key.span, hint))
    missing = [key for key in required if node.get(key) is None]
    for name in missing:
        if not meant(node, keys, [name]):
            problems.append(Problem("missing-key", f"{what} needs `{name}`", node.span))
    return None if missing else _Body(node)


def _repeat(node: Node, beside: Beside, head: Scalar, problems: Problems) -> Item | None:
    body = _body(node, "`repeat`", ("times", "index", "layers"), ("times", "layers"), problems)
    if body is None:
        return None
    index = body.get("index")
    name = index.value if isinstance(index, Scalar) else None
    if index is not None and not (isinstance(name, str) and name.isidentifier()):
        message = f"`index` takes a name for arithmetic, not {kind_of(index)}"
        problems.append(Problem("bad-name", message, index.span, "a letter, then letters, digits and '_', such as j"))
        name = None
    layers = read_items(_needed(body, "layers"), "`layers`", problems)
    return RepeatItem(_needed(body, "times"), layers, beside, head.span, name or "i")


def _branches(node: Node, beside: Beside, head: Scalar, problems: Problems) -> Item | None:
    body = _body(node, "`branches`", ("merge", "paths"), ("paths",), problems)
    if body is None:
        return None
    paths = _needed(body, "paths")
    if not isinstance(paths, Items) or len(paths.items) < 2:
        message = f"`paths` takes a list of at least two lists of layers, not {kind_of(paths)}"
        problems.append(Problem("wrong-type", message, paths.span, "for example [[{Dense: 8}], [{Dense: 8}]]"))
        return None
    read = tuple(read_items(path, "a path of branches", problems) for path in paths.items)
    return BranchesItem(body.get("merge"), read, beside, head.span)


def _residual(node: Node, beside: Beside, head: Scalar, problems: Problems) -> Item | None:
    body = _body(node, "`residual`", ("layers", "shortcut", "merge", "shortcut_first"), ("layers",), problems)
    if body is None:
        return None
    shortcut: Any = body.get("shortcut")
    if isinstance(shortcut, Items):
        path: Any = read_items(shortcut, "`shortcut`", problems)
    elif shortcut is None or (isinstance(shortcut, Scalar) and shortcut.value in ("identity", "auto")):
        path = "auto" if shortcut is None else shortcut.value
    else:
        message = f"`shortcut` takes identity, auto or a list of layers, not {kind_of(shortcut)}"
        hint = suggest(str(plain(shortcut)), ("identity", "auto"))
        problems.append(Problem("wrong-type", message, shortcut.span, hint))
        path = "auto"
    layers = read_items(_needed(body, "layers"), "`layers`", problems)
    first = body.get("shortcut_first")
    if first is not None and not (isinstance(first, Scalar) and isinstance(first.value, bool)):
        message = f"`shortcut_first` takes true or false, not {kind_of(first)}"
        problems.append(Problem("wrong-type", message, first.span))
        first = None
    reads_first = plain(first) if first is not None else None
    return ResidualItem(layers, path, body.get("merge"), beside, head.span, reads_first)


def _use(node: Node, arguments: Node | None, beside: Beside, head: Scalar, problems: Problems) -> Item | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        problems.append(Problem("wrong-type", f"`use` takes the name of a block, not {kind_of(node)}", node.span))
        return None
    return UseItem(node.value, arguments, beside, node.span)


def read_blocks(node: Node | None, problems: Problems) -> dict[str, Block]:
    """The declared blocks by name."""
    if node is None:
        return {}
    if not isinstance(node, Mapping):
        message = f"`blocks` takes a mapping of names to {{params, layers}}, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span))
        return {}
    found = {key.value: _block(key, value, problems) for key, value in node}
    return {name: block for name, block in found.items() if block is not None}


def _block(key: Scalar, node: Node, problems: Problems) -> Block | None:
    body = _body(node, f"the block {key.value[:60]!r}", ("params", "layers"), ("layers",), problems)
    if not valid_name(key, problems) or body is None:
        return None
    declared: dict[str, Node | None] = {}
    params = body.get("params")
    if isinstance(params, Mapping):
        for name, default in params:
            if not name.value.isidentifier() or name.value == "i":
                rule = "`i` is the index of repeat" if name.value == "i" else "a letter, then letters, digits and '_'"
                problems.append(Problem("bad-name", f"{name.value[:60]!r} cannot name a parameter", name.span, rule))
                continue
            required = isinstance(default, Scalar) and default.value == "required" and not default.quoted
            declared[name.value] = None if required else default
    elif params is not None:
        message = f"`params` takes a mapping of names to defaults, not {kind_of(params)}"
        problems.append(Problem("wrong-type", message, params.span, "for example {filters: required, stride: 1}"))
    return Block(key.value, declared, read_items(_needed(body, "layers"), "`layers`", problems), key.span)


def _needed(body: _Body, key: str) -> Node:
    node = body.get(key)
    assert node is not None
    return node
