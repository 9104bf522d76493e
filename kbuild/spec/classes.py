"""Names of classes in `train.data`: `classes: [cat, dog]`, or a list for each output."""

from __future__ import annotations

from kbuild.errors import Problem
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of

#: Output → names, by class number; "" stands for the only output.
ClassNames = dict[str, tuple[str, ...]]

#: Characters a name may have.
LONGEST = 200

_HINT = "for example `classes: [cat, dog]`, in the order of the class numbers"


def read_classes(node: Node, problems: list[Problem]) -> ClassNames:
    """Read the value of `classes`; all that is wrong is appended to `problems`."""
    if isinstance(node, Items):
        return {"": _names(node, problems)}
    if isinstance(node, Mapping) and len(node):
        found = {}
        for key, value in node:
            if isinstance(value, Items):
                found[key.value] = _names(value, problems)
            else:
                _wrong(f"`classes.{key.value}` must be a list of names, not {kind_of(value)}", value, problems)
        return found
    _wrong(
        f"`classes` must be a list of names, or a mapping from outputs to lists, not {kind_of(node)}", node, problems
    )
    return {}


def _names(node: Items, problems: list[Problem]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    if len(node.items) < 2:
        _wrong("`classes` needs two names or more", node, problems)
    for item in node.items:
        value = item.value if isinstance(item, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            _wrong(f"the name of a class must be text, not {kind_of(item)}", item, problems, "put it in quotes")
            continue
        name = str(value)
        if not name or len(name) > LONGEST or not name.isprintable():
            _wrong(f"the name of a class has 1 to {LONGEST} characters on one line", item, problems)
        elif name in names:
            _wrong(f"two classes have the name {name!r}", item, problems)
        names[name] = None
    return tuple(names)


def _wrong(message: str, node: Node, problems: list[Problem], hint: str = _HINT) -> None:
    problems.append(Problem("wrong-type", message, node.span, hint))
