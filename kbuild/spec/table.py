"""`input: {table: ...}`: the columns of a table that a model reads, each an input of its own.

>>> from kbuild.spec.reader import read_text
>>> found = []
>>> tree = read_text("{numeric: [age, capital-gain], category: {job: [admin, tech], city: 50}}", "demo.yaml")
>>> [(column.input, column.dtype) for column in read_table(tree, tree.span, found).columns]
[('age', 'float32'), ('capital_gain', 'float32'), ('job', 'string'), ('city', 'string')]
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kbuild.errors import Problem, Span, suggest
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of

#: Bounds by the name the error shows.
LIMITS = {"table-columns": 2_000, "category-size": 1_000_000}

TABLE_KEYS = ("numeric", "category", "normalize")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        name: as the header of the file has it.
        input: the input layer that takes it.
        dtype: "float32" for numbers, "string" or "int64" for categories.
        vocabulary: the node of a category's values in the order of their slots, or None.
        size: slots of a category whose values are learnt, the one of unknown values among them; or None.
    """

    name: str
    input: str
    dtype: str
    span: Span
    vocabulary: Items | None = None
    size: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What `table` says: numbers, categories, and whether the numbers are normalized."""

    numeric: tuple[Column, ...]
    category: tuple[Column, ...]
    normalize: bool
    span: Span

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.numeric, *self.category)


def input_name(column: str) -> str:
    """The input layer's name for a column: letters, digits and '_', which every format of an export keeps.

    >>> [input_name(name) for name in ("age", "capital-gain", " hours per week", "größe (m)", "...")]
    ['age', 'capital_gain', 'hours_per_week', 'gr_e_m', '']
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_")[:190]


def read_table(node: Node, span: Span, problems: list[Problem]) -> Table | None:
    """Read the value of `table`, expressions evaluated; `span` is the place of the key.

    None where anything was wrong, which `problems` gets.
    """
    before = len(problems)
    if not isinstance(node, Mapping):
        hint = "for example {numeric: [age, hours], category: {job: [admin, tech], city: 50}}"
        problems.append(Problem("wrong-type", f"`table` takes a mapping, not {kind_of(node)}", node.span, hint))
        return None
    for key, _ in node:
        if key.value not in TABLE_KEYS:
            hint = suggest(key.value, TABLE_KEYS) or f"keys here: {', '.join(TABLE_KEYS)}"
            problems.append(Problem("unknown-key", f"`table` has no key {key.value[:60]!r}", key.span, hint))
    numeric = _numeric(node.get("numeric"), problems)
    category = _category(node.get("category"), problems)
    flag = node.get("normalize")
    normalize = flag.value if isinstance(flag, Scalar) else True
    if flag is not None and not isinstance(normalize, bool):
        problems.append(Problem("wrong-type", f"`normalize` takes true or false, not {kind_of(flag)}", flag.span))
    columns = (*numeric, *category)
    if not columns and len(problems) == before:
        hint = "for example {numeric: [age, hours], category: {city: 50}}"
        problems.append(Problem("missing-key", "`table` names no column", node.span, hint))
    if len(columns) > LIMITS["table-columns"]:
        hint = "`input: {shape: [COLUMNS]}` reads a wide table of numbers as one array"
        message = f"{len(columns)} columns are more than the limit table-columns ({LIMITS['table-columns']})"
        problems.append(Problem("limit", message, node.span, hint))
    _collisions(columns, problems)
    return Table(numeric, category, bool(normalize), span) if len(problems) == before else None


def _collisions(columns: tuple[Column, ...], problems: list[Problem]) -> None:
    seen: dict[str, Column] = {}
    for column in columns:
        if not column.input:
            message = f"the column {column.name[:60]!r} has no letter or digit that could name its input"
            problems.append(Problem("bad-name", message, column.span, "rename it in the file"))
            continue
        first = seen.setdefault(column.input, column)
        if first is column:
            continue
        if first.name == column.name:
            message, hint = f"the column {column.name[:60]!r} stands twice in this table", "keep one of them"
        else:
            message = f"the columns {first.name[:60]!r} and {column.name[:60]!r} would both be the input {column.input}"
            hint = "an input's name has letters, digits and '_' alone; rename one of them in the file"
        problems.append(Problem("duplicate-name", message, column.span, hint))


def _numeric(node: Node | None, problems: list[Problem]) -> tuple[Column, ...]:
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return ()
    found = []
    for item in node.items if isinstance(node, Items) else (node,):
        name = _column_name(item)
        if name is None:
            hint = "for example [age, hours]; a name that looks like a number needs quotes"
            problems.append(
                Problem("wrong-type", f"`numeric` takes names of columns, not {kind_of(item)}", item.span, hint)
            )
            continue
        found.append(Column(name, input_name(name), "float32", item.span))
    return tuple(found)


def _column_name(node: Node) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) and node.value else None


def _category(node: Node | None, problems: list[Problem]) -> tuple[Column, ...]:
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return ()
    if not isinstance(node, Mapping):
        message = f"`category` takes a mapping from columns to their values or to a size, not {kind_of(node)}"
        problems.append(Problem("wrong-type", message, node.span, "for example {job: [admin, tech], city: 50}"))
        return ()
    found = []
    for key, value in node:
        name = key.value
        if isinstance(value, Items):
            kind = _vocabulary(name, value, problems)
            if kind is not None:
                found.append(Column(name, input_name(name), kind, key.span, vocabulary=value))
        elif isinstance(value, Scalar) and type(value.value) is int and 2 <= value.value <= LIMITS["category-size"]:
            found.append(Column(name, input_name(name), "string", key.span, size=value))
        else:
            message = (
                f"the category {name[:60]!r} takes a list of its values, or a number from 2: how many slots to learn"
            )
            hint = (
                f"at most {LIMITS['category-size']}" if isinstance(value, Scalar) and type(value.value) is int else ""
            )
            problems.append(Problem("wrong-type", f"{message}. Received: {kind_of(value)}", value.span, hint))
    return tuple(found)


def _vocabulary(name: str, node: Items, problems: list[Problem]) -> str | None:
    """The dtype of a category with these values: "string" or "int64"; None where they are wrong."""
    before = len(problems)
    kinds = {type(item.value) if isinstance(item, Scalar) else None for item in node.items}
    seen: set[object] = set()
    for item in node.items:
        value = item.value if isinstance(item, Scalar) else None
        if not isinstance(value, str) and type(value) is not int:
            message = f"a value of the category {name[:60]!r} is a text or a whole number, not {kind_of(item)}"
            problems.append(Problem("wrong-type", message, item.span, "put it in quotes"))
        elif value in seen:
            message = f"the value {value!r:.60} stands twice in the category {name[:60]!r}"
            problems.append(Problem("duplicate-name", message, item.span))
        seen.add(value)
    if not node.items:
        hint = "or a number: how many slots to learn from the training data"
        problems.append(Problem("wrong-type", f"the category {name[:60]!r} has no values", node.span, hint))
    elif kinds == {str, int}:
        message = f"the category {name[:60]!r} mixes texts and numbers"
        problems.append(Problem("wrong-type", message, node.span, "put the numbers in quotes"))
    if len(problems) > before:
        return None
    return "int64" if kinds == {int} else "string"
