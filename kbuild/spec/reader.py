"""YAML 1.2 core text → a tree of nodes, each with its place.

The parser is PyYAML's; the tree is built from its events with an explicit stack, so that depth, size and alias
expansion are bounded before any memory is used, and so that no tag ever constructs an object.

>>> tree = read_text("a: [1, no, 1e-3]", "demo.yaml")
>>> plain(tree)
{'a': [1, 'no', 0.001]}
>>> tree.get("a").items[1].span.place
'demo.yaml:1:8'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kbuild.errors import Problem, Source, Span, SpecError, suggest
from kbuild.spec.yaml_errors import in_words

#: Bounds on the input, by the name the error shows.
LIMITS = {"file-size": 4_000_000, "depth": 64, "nodes": 1_000_000, "alias-expansion": 100_000, "digits": 1_000}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_CORE = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number, boolean or null. `quoted` strings are never expressions."""

    value: Any
    span: Span
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A YAML sequence."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Mapping:
    """A YAML mapping with string keys, in the order written."""

    entries: tuple[tuple[Scalar, Node], ...]
    span: Span

    def get(self, key: str) -> Node | None:
        return next((node for name, node in self.entries if name.value == key), None)

    def key(self, key: str) -> Scalar | None:
        return next((name for name, _ in self.entries if name.value == key), None)

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


Node = Scalar | Items | Mapping


def core_value(text: str) -> Any:
    """What a plain scalar means in the YAML 1.2 core schema; ValueError where a number has too many digits.

    >>> core_value("no"), core_value("1e-3"), core_value("0x1F"), core_value("~")
    ('no', 0.001, 31, None)
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > LIMITS["digits"] and (_INT.match(text) or _OCTAL.match(text) or _HEX.match(text)):
        raise ValueError
    if _INT.match(text):
        return int(text)
    if _OCTAL.match(text):
        return int(text[2:], 8)
    if _HEX.match(text):
        return int(text[2:], 16)
    return float(text) if _FLOAT.match(text) else text


def plain(node: Node) -> Any:
    """The node as plain Python data, places dropped."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key.value: plain(value) for key, value in node}


def kind_of(node: Node) -> str:
    """What a message calls this node: "a mapping", "the string 'x'", ..."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Items):
        return f"a list of {len(node.items)}" if node.items else "an empty list"
    value = node.value
    if value is None:
        return "an empty value"
    if isinstance(value, str):
        return f"the string {value[:60]!r}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"the number {value!r:.40}"


def read_file(path: str | Path, included: bool = False) -> tuple[Source, Node]:
    """Read a YAML file.

    Raises:
        SpecError: the file is missing, a directory, too large, not UTF-8, empty or not YAML.
    """
    path = Path(path)
    name = str(path)
    try:
        if path.is_dir():
            _fail("file", f"{name} is a directory; name the spec's file", _top(name))
        with path.open("rb") as stream:
            raw = stream.read(LIMITS["file-size"] + 1)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        hint = _neighbour(path) if isinstance(error, FileNotFoundError) else ""
        _fail("file", f"cannot read {name}: {reason}", _top(name), hint)
    except ValueError:
        _fail("file", f"cannot read {name!r}: not a file name", Span(Source(repr(name), ""), 1, 1))
    if len(raw) > LIMITS["file-size"]:
        _fail("limit", f"the file is larger than the limit file-size ({LIMITS['file-size']} bytes)", _top(name))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        span = Span(Source(name, before), before.count("\n") + 1, len(before) - before.rfind("\n"))
        _fail("file", f"not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}", span, "save it as UTF-8")
    tree = read_text(text, name, included=included)
    return tree.span.source, tree


def read_text(text: str, name: str, before: str = "", included: bool = False) -> Node:
    """Parse one YAML document.

    Args:
        text: the document.
        name: what messages call it.
        before: text of the same line in front of the document, which messages show: the rest of an option.
        included: whether a spec includes it.

    Raises:
        SpecError: not YAML, more than one document, a limit exceeded, duplicate keys (all of them), a tag.
    """
    source = Source(name, before + text, included)
    if not text.strip():
        _fail("file", "the file is empty", Span(source, 1, 1), "`kbuild init` writes a starter spec")
    try:
        return _Builder(source).build(" " * len(before) + text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        span = Span(source, mark.line + 1, mark.column + 1) if mark else Span(source, 1, 1)
        _fail("yaml", *in_words(error, source, span))
    except yaml.reader.ReaderError as error:
        at = error.position if isinstance(error.position, int) else 0
        before = text[:at]
        span = Span(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found = f"U+{ord(text[at]):04X}" if at < len(text) else "one"
        _fail("yaml", f"a character that YAML does not allow: {found}", span)
    except yaml.YAMLError as error:  # pragma: no cover - PyYAML raises only the two above
        _fail("yaml", str(error), Span(source, 1, 1))
    raise AssertionError("unreachable")


def _neighbour(path: Path) -> str:
    """A hint for a misspelled file name."""
    try:
        return suggest(path.name, (found.name for found in path.parent.glob("*.y*ml")))
    except OSError:
        return ""


def _top(name: str) -> Span:
    return Span(Source(name, ""), 1, 1)


def _fail(code: str, message: str, span: Span, hint: str = "") -> Any:
    raise SpecError([Problem(code, message, span, hint)])


class _Builder:
    """Builds the tree of one document from PyYAML's events."""

    def __init__(self, source: Source):
        self.source = source
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.nodes = 0
        self.aliased = 0

    def build(self, text: str) -> Node:
        root: Node | None = None
        # Each open collection: its start event, its finished children, and the node count before it.
        stack: list[tuple[Any, list[Node], int]] = []
        parser = _Loader(text)
        try:
            while parser.check_event():
                event = parser.get_event()
                if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                    _fail("yaml", "a spec is one YAML document; a second begins here", self._span(event))
                node: Node | None = None
                if isinstance(event, yaml.ScalarEvent):
                    self._count(event)
                    node = self._scalar(event)
                    self._anchor(event, node, 1)
                elif isinstance(event, yaml.AliasEvent):
                    node = self._alias(event)
                elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                    self._tag(event)
                    if len(stack) >= LIMITS["depth"]:
                        _fail("limit", f"nested deeper than the limit depth ({LIMITS['depth']})", self._span(event))
                    self._count(event)
                    stack.append((event, [], self.nodes - 1))
                    continue
                elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                    start, children, before = stack.pop()
                    node = self._collection(start, event, children)
                    self._anchor(start, node, self.nodes - before)
                if node is None:
                    continue
                if stack:
                    stack[-1][1].append(node)
                else:
                    root = node
        finally:
            parser.dispose()
        if self.problems:
            raise SpecError(self.problems)
        if root is None:
            hint = "`kbuild init` writes a starter spec"
            _fail("file", "there is nothing in the file but comments", Span(self.source, 1, 1), hint)
        assert root is not None
        return root

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Span(self.source, start.line + 1, start.column + 1, max(1, length))

    def _count(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > LIMITS["nodes"]:
            _fail("limit", f"more YAML nodes than the limit nodes ({LIMITS['nodes']})", self._span(event))

    def _anchor(self, event: Any, node: Node, size: int) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, size)

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            _fail("yaml", f"the alias '*{event.anchor}' stands for nothing defined before it", self._span(event))
        node, size = self.anchors[event.anchor]
        self.aliased += size
        if self.aliased > LIMITS["alias-expansion"]:
            limit = LIMITS["alias-expansion"]
            _fail("limit", f"aliases expand to more nodes than the limit alias-expansion ({limit})", self._span(event))
        self.nodes += size
        return node

    def _tag(self, event: Any) -> None:
        if event.tag is not None and event.tag not in _CORE and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            message = f"the tag {tag[:60]} is not part of the YAML core schema"
            self.problems.append(Problem("yaml-tag", message, self._span(event), "a spec is plain data; drop the tag"))
        elif event.tag is not None and event.tag != "!":
            name = event.tag.removeprefix("tag:yaml.org,2002:")
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            kind = "scalar" if isinstance(event, yaml.ScalarEvent) else kind
            if kind != (name if name in ("map", "seq") else "scalar"):
                what = {"map": "a mapping", "seq": "a list", "scalar": repr(getattr(event, "value", "")[:60])}[kind]
                self.problems.append(Problem("yaml-tag", f"{what} is not a YAML {name}", self._span(event)))

    def _scalar(self, event: Any) -> Scalar:
        span = self._span(event)
        self._tag(event)
        name = (event.tag or "").removeprefix("tag:yaml.org,2002:")
        if not event.implicit[0] or name in ("str", "!"):
            if name in ("int", "float", "bool", "null"):
                value = self._resolve(event.value, span)
                wanted: Any = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}[name]
                if not isinstance(value, wanted):
                    self.problems.append(Problem("yaml-tag", f"{event.value[:60]!r} is not a YAML {name}", span))
                return Scalar(float(event.value) if name == "float" and _INT.match(event.value) else value, span)
            return Scalar(event.value, span, quoted=True)
        return Scalar(self._resolve(event.value, span), span)

    def _resolve(self, text: str, span: Span) -> Any:
        try:
            return core_value(text)
        except ValueError:
            limit = f"the limit digits ({LIMITS['digits']})"
            self.problems.append(Problem("limit", f"a number of {len(text)} digits is longer than {limit}", span))
            return 0

    def _collection(self, start: Any, end: Any, children: list[Node]) -> Node:
        if isinstance(start, yaml.SequenceStartEvent):
            return Items(tuple(children), self._span(start))
        entries: list[tuple[Scalar, Node]] = []
        seen: dict[Any, Span] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.append(Problem("wrong-type", f"a key must be a name, not {kind_of(key)}", key.span))
                continue
            if not isinstance(key.value, str):
                key = Scalar(self.source.line(key.span.line)[key.span.column - 1 :][: key.span.length], key.span)
            if key.value in seen:
                hint = f"the first stands in line {seen[key.value].line}"
                message = f"the key {key.value[:60]!r} stands twice in this mapping"
                self.problems.append(Problem("duplicate-key", message, key.span, hint))
                continue
            seen[key.value] = key.span
            entries.append((key, value))
        return Mapping(tuple(entries), self._span(start))
