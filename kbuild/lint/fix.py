"""`--fix`: safe changes of a spec's text, byte for byte nothing but what they say.

A fix edits the text at the place of a node and leaves every other byte alone; a YAML library that writes the document
anew would change quotes, indentation and the breaks of long lines. What an edit has to do to the parsed data is done to
the data as well, and an edit whose text does not parse to exactly that is not made.

>>> text = "layers:\\n  - Dense: {units: 3, use_bias: true}  # three classes\\n"
>>> print(apply(text, [Fix("remove-argument", 2, 5, "use_bias", "", "function")]), end="")
layers:
  - Dense: {units: 3}  # three classes
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kbuild.errors import SpecError
from kbuild.lint.finding import Fix
from kbuild.spec.reader import plain, read_text

Path = tuple[Any, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Edit:
    """Replace text[start:end] by `new`; `data` does to the parsed document what the edit does to the text."""

    start: int
    end: int
    new: str
    data: Callable[[Any], None]


@dataclass(frozen=True)
class _Spot:
    """A node of the document: its path and what stands there. `shared` where aliases name it too."""

    path: Path
    key: yaml.Node | None
    node: yaml.Node
    shared: bool


class Document:
    """A spec's text with the places of its nodes, for several fixes to be looked up in."""

    def __init__(self, text: str):
        self.text = text
        self.root = yaml.compose(text, Loader=_LOADER)
        self._keys: dict[tuple[int, int], _Spot] = {}
        self._nodes: dict[tuple[int, int], _Spot] = {}
        for spot in _walk(self.root, ()) if self.root is not None else ():
            if spot.key is not None:
                self._keys.setdefault(_begin(spot.key), spot)
            self._nodes.setdefault(_begin(spot.node), spot)

    def edit(self, fix: Fix) -> Edit | None:
        """What a fix does to the text; None where it cannot be made here.

        It is about what begins at its place: the entry of a mapping whose key does, or else the outermost node.
        """
        place = (fix.line - 1, fix.column - 1)
        at = self._keys.get(place) or self._nodes.get(place)
        return None if at is None or at.shared else ACTIONS[fix.action](self, at, fix.key)


def apply(text: str, fixes: Iterable[Fix]) -> str:
    """The text with every fix applied that can be; the text itself where none can."""
    for fix in sorted(set(fixes), key=lambda one: (one.line, one.column), reverse=True):
        edit = Document(text).edit(fix)
        if edit is None:
            continue
        changed = text[: edit.start] + edit.new + text[edit.end :]
        if _means(text, changed, edit):
            text = changed
    return text


def _means(before: str, after: str, edit: Edit) -> bool:
    """Whether the new text parses to the old data with the edit's change, and to nothing else."""
    expected = copy.deepcopy(plain(read_text(before, "spec")))
    edit.data(expected)
    try:
        return bool(plain(read_text(after, "spec")) == expected)
    except SpecError:
        return False


def _begin(node: yaml.Node) -> tuple[int, int]:
    return int(node.start_mark.line), int(node.start_mark.column)


def _walk(root: yaml.Node, path: Path) -> Iterator[_Spot]:
    uses: dict[int, int] = {}
    _count(root, uses)

    def below(node: yaml.Node, path: Path, shared: bool) -> Iterator[_Spot]:
        shared = shared or uses[id(node)] > 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inside = shared or uses[id(value)] > 1
                yield _Spot((*path, key.value), key, value, inside)
                yield from below(value, (*path, key.value), inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                inside = shared or uses[id(value)] > 1
                yield _Spot((*path, index), None, value, inside)
                yield from below(value, (*path, index), inside)

    return below(root, path, False)


def _count(node: yaml.Node, uses: dict[int, int]) -> None:
    uses[id(node)] = uses.get(id(node), 0) + 1
    if uses[id(node)] > 1:
        return
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _count(value, uses)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _count(value, uses)


# -- actions ------------------------------------------------------------------------------------------------------


def _remove_argument(document: Document, at: _Spot, key: str) -> Edit | None:
    """An argument of the layer whose class name stands here."""
    return _without_key(document.text, at.node, at.path, key)


def _remove_option(document: Document, at: _Spot, key: str) -> Edit | None:
    """An option of the object that stands here: `{Class: {option: ...}}`, or the class's key."""
    node, path = at.node, at.path
    while isinstance(node, yaml.MappingNode) and all(name.value != key for name, _ in node.value):
        if len(node.value) != 1:
            return None
        path, node = (*path, node.value[0][0].value), node.value[0][1]
    return _without_key(document.text, node, path, key)


def _without_key(text: str, node: yaml.Node, path: Path, key: str) -> Edit | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    index = next((number for number, (name, _) in enumerate(node.value) if name.value == key), None)
    if index is None:
        return None
    spans = [(name.start_mark.index, _end(value)) for name, value in node.value]
    start, end = _entry(text, spans, index) if node.flow_style else _lines(text, spans[index])
    if not node.flow_style and len(spans) == 1:
        return None
    if not node.flow_style and text[text.rfind("\n", 0, spans[index][0]) + 1 : spans[index][0]].strip():
        return None  # it shares its line with a dash or a key
    return Edit(start, end, "", lambda data: _inside(data, path).pop(key))


def _remove_entry(document: Document, at: _Spot, key: str) -> Edit | None:
    """The entry of a list whose layer stands here, with everything beside the layer."""
    index = next((number for number in range(len(at.path) - 1, -1, -1) if isinstance(at.path[number], int)), None)
    if index is None or len(at.path) - index > 2:
        return None
    text, sequence = document.text, _node(document.root, at.path[:index])
    entry = sequence.value[at.path[index]]
    if len(sequence.value) < 2 or (isinstance(entry, yaml.MappingNode) and _names_it(entry)):
        return None
    spans = [(one.start_mark.index, _end(one)) for one in sequence.value]
    which = at.path[index]
    if sequence.flow_style:
        start, end = _entry(text, spans, which)
    else:
        dash = text.rfind("-", 0, spans[which][0])
        if text[text.rfind("\n", 0, dash) + 1 : dash].strip():
            return None
        start, end = _lines(text, (dash, spans[which][1]))
    path = at.path[:index]
    return Edit(start, end, "", lambda data: _inside(data, path).pop(which))


def _names_it(entry: yaml.MappingNode) -> bool:
    """Whether others may refer to the layer, or it reads something of its own: then it is not simply removed."""
    return any(key.value in ("name", "from", "when") for key, _ in entry.value)


def _rename_layer(document: Document, at: _Spot, key: str) -> Edit | None:
    """The class name that stands here."""
    node = at.key or at.node
    if not isinstance(node, yaml.ScalarNode) or node.style:
        return None
    old, path = node.value, at.path

    def change(data: Any) -> None:
        if at.key is None:
            _inside(data, path[:-1])[path[-1]] = key
            return
        parent = _inside(data, path[:-1])
        entries = [(key if name == old else name, value) for name, value in parent.items()]
        parent.clear()
        parent.update(entries)

    return Edit(node.start_mark.index, node.end_mark.index, key, change)


ACTIONS: dict[str, Callable[[Document, _Spot, str], Edit | None]] = {
    "remove-argument": _remove_argument,
    "remove-option": _remove_option,
    "remove-entry": _remove_entry,
    "rename-layer": _rename_layer,
}


# -- places in the text -------------------------------------------------------------------------------------------


def _node(node: Any, path: Path) -> Any:
    for step in path:
        node = node.value[step] if isinstance(step, int) else next(v for k, v in node.value if k.value == step)
    return node


def _inside(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends: a block collection's end mark lies behind the comments that follow it."""
    while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _entry(text: str, spans: list[tuple[int, int]], index: int) -> tuple[int, int]:
    """An entry of a flow collection with the comma and blanks that go with it."""
    if index + 1 < len(spans):
        return spans[index][0], spans[index + 1][0]
    if index > 0:
        return spans[index - 1][1], spans[index][1]
    return spans[index]


def _lines(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """The whole lines that a span of a block collection takes."""
    start = text.rfind("\n", 0, span[0]) + 1
    end = text.find("\n", max(span[0], span[1] - 1))
    return start, len(text) if end < 0 else end + 1
