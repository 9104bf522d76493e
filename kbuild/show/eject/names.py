"""Names of a spec as Python identifiers."""

from __future__ import annotations

import builtins
import keyword
import re

#: Names that ejected code uses itself.
RESERVED = frozenset(
    {
        "keras",
        "layers",
        "np",
        "tf",
        "build_model",
        "operation",
        "name",
        "inputs",
        "outputs",
        "model",
        "main",
        "x",
        "i",
        "j",
        "k",
    }
    | set(dir(builtins))
)

#: Names of variables that ejected code makes up.
_VARIABLES = re.compile(r"(branch|shortcut|gate|index)(_[0-9]+)?")


def identifier(text: str, otherwise: str) -> str:
    """An identifier that reads like a text: ASCII letters, digits and `_`, no word of Python's or the code's own.

    >>> identifier("res-block 1", "block"), identifier("class", "block"), identifier("+", "block")
    ('res_block_1', 'class_block', 'block')
    """
    found = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:60]
    if not found:
        return otherwise
    if found[0].isdigit():
        found = f"{otherwise}_{found}"
    taken = keyword.iskeyword(found) or found in RESERVED or _VARIABLES.fullmatch(found)
    return f"{found}_{otherwise}" if taken else found


def free_name(name: str, taken: set[str]) -> str:
    """The name, or the name with the first free number behind it; it is taken from then on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found
