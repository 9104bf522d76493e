"""What may name a model, a layer or a block."""

from __future__ import annotations

import re

from kbuild.errors import Problem
from kbuild.spec.reader import Node, Scalar, kind_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


def valid_name(node: Node, problems: list[Problem]) -> bool:
    """Whether a node is a name that Keras and file systems accept; a problem where it is not."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and len(node.value) <= 200 and NAME.match(node.value):
        return True
    what = kind_of(node)
    rule = "letters, digits, '_', '-' and '.', beginning with a letter or digit, at most 200"
    problems.append(Problem("bad-name", f"not a name: {what}; a name is {rule}", node.span))
    return False
