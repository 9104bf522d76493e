"""Nodes → YAML text that reads back to the same values under the YAML 1.2 core schema.

>>> from kbuild.spec.reader import read_text
>>> print(write_yaml(read_text("{a: 1e-3, b: 'no', c: [1, x]}", "t")), end="")
a: 0.001
b: 'no'
c: [1, x]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from kbuild.spec.reader import Items, Node, Scalar, core_value

#: Line breaks that only escapes keep.
_BREAKS = frozenset("\r\x85\u2028\u2029")

#: Lists and mappings of scalars up to this many entries are written on one line.
FLOW = 6


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_yaml(node: Node) -> str:
    """The node as YAML, keys in their order, comments lost."""
    root = _yaml(node)
    if isinstance(root, yaml.CollectionNode):
        root.flow_style = False
    return yaml.serialize(root, Dumper=_Dumper, allow_unicode=True, width=110)


def _yaml(node: Node) -> yaml.Node:
    if isinstance(node, Scalar):
        return _scalar(node)
    if isinstance(node, Items):
        items = [_yaml(item) for item in node.items]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=_flat(node.items))
    pairs = [(_scalar(key), _yaml(value)) for key, value in node]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=_flat([value for _, value in node]))


def _flat(nodes: Sequence[Node]) -> bool:
    return len(nodes) <= FLOW and all(isinstance(node, Scalar) for node in nodes)


def _scalar(node: Scalar) -> yaml.ScalarNode:
    represented = yaml.representer.SafeRepresenter().represent_data(node.value)
    assert isinstance(represented, yaml.ScalarNode)
    style, text = represented.style, node.value
    if isinstance(text, str):
        if not _BREAKS.isdisjoint(text):
            style = '"'
        elif (node.quoted and text.startswith("=")) or _reads_otherwise(text):
            style = "'"
    return yaml.ScalarNode(represented.tag, represented.value, style=style)


def _reads_otherwise(text: str) -> bool:
    """Whether a plain scalar of this text would not read back as the string."""
    try:
        return core_value(text) != text
    except ValueError:
        return True
