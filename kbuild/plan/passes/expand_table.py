"""The layers between the columns of a table and the first layer of the spec."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.errors import Span
from kbuild.spec.model import Beside, LayerItem, Reference
from kbuild.spec.reader import Mapping, Node, Scalar
from kbuild.spec.settings import origin
from kbuild.spec.table import Column, Table

#: Names of what a table adds beside its inputs; a category's lookup is the input's name with `_lookup`.
NUMERIC, NORMALIZED, JOINED = "table_numeric", "table_normalized", "table"


def table_items(table: Table) -> Iterator[tuple[LayerItem, str]]:
    """The layers of a table and why each stands there, as a spec would write them; the last is what the spec reads.

    Numbers are joined and normalized with the mean and variance of the training data; every category becomes a vector
    with a 1 in the slot of its value, slot 0 for values that are not in the vocabulary.
    """
    ends: list[Reference] = []
    numbers = [Reference(column.input, column.span) for column in table.numeric]
    if numbers:
        last = numbers[0]
        if len(numbers) > 1:
            last = Reference(NUMERIC, numbers[0].span)
            why = f"joins the {len(numbers)} numeric columns of the table ({origin(table.span)})"
            yield _layer("Concatenate", {}, NUMERIC, numbers, last.span), why
        if table.normalize:
            why = f"mean 0 and variance 1 on the training data, numeric columns of the table ({origin(table.span)})"
            yield _layer("Normalization", {}, NORMALIZED, [last], last.span), why
            last = Reference(NORMALIZED, last.span)
        ends.append(last)
    for column in table.category:
        name = f"{column.input}_lookup"
        yield _lookup(column, name), _why(column)
        ends.append(Reference(name, column.span))
    if len(ends) > 1:
        yield (
            _layer("Concatenate", {}, JOINED, ends, table.span),
            f"joins the columns of the table ({origin(table.span)})",
        )


def _lookup(column: Column, name: str) -> LayerItem:
    args: dict[str, Node] = {"output_mode": Scalar("one_hot", column.span)}
    if column.vocabulary is not None:
        args["vocabulary"] = column.vocabulary
    if column.size is not None:
        args |= {"max_tokens": column.size, "pad_to_max_tokens": Scalar(True, column.span)}
    cls = "IntegerLookup" if column.dtype == "int64" else "StringLookup"
    return _layer(cls, args, name, [Reference(column.input, column.span)], column.span)


def _why(column: Column) -> str:
    slots = f"{len(column.vocabulary.items)} values" if column.vocabulary is not None else "values learnt"
    return f"category {column.name!r} of the table ({origin(column.span)}); {slots}, slot 0 for others"


def _layer(cls: str, args: dict[str, Node], name: str, sources: list[Reference], span: Span) -> LayerItem:
    written = Mapping(tuple((Scalar(key, span), value) for key, value in args.items()), span) if args else None
    return LayerItem(cls, written, Beside(name=Scalar(name, span), sources=tuple(sources)), span)
