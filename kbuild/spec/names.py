"""What may name a model, a layer or a block, and which key a misspelled one means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kbuild.errors import Problem, nearest
from kbuild.spec.reader import Mapping, Node, Scalar, kind_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


def valid_name(node: Node, problems: list[Problem]) -> bool:
    """Whether a node is a name that Keras and file systems accept; a problem where it is not."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and len(node.value) <= 200 and NAME.match(node.value):
        return True
    rule = "a name is letters, digits, '_', '-' and '.', begins with a letter or digit, and has at most 200 of them"
    if isinstance(node, Scalar) and not isinstance(node.value, str) and node.value is not None:
        rule = "put it in quotes"
    problems.append(Problem("bad-name", f"{kind_of(node)} cannot be a name", node.span, rule))
    return False


def meant(node: Mapping, keys: Sequence[str], missing: Iterable[str]) -> bool:
    """Whether an unknown key of a mapping is a misspelling of a missing one, which then is not reported missing too."""
    found = {nearest(key.value, keys) for key, _ in node if key.value not in keys}
    return not found.isdisjoint(missing)
