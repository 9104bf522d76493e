"""Tables and help texts in the docs, made from the tables in the code.

`python -m tools.docs_tables` renews every block between `<!-- table: NAME -->` and `<!-- end -->` in README.md and
docs/, and the pages of `docs_pages`; a test holds them current.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.facts import FACTS
from kbuild import errors, policy
from tools import docs_pages, docs_reference

ROOT = Path(__file__).parent.parent


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join([_row(*header), _row(*("---" for _ in header)), *(_row(*row) for row in rows)])


def policies() -> str:
    """The named policies."""
    rows = [
        (f"[`{row.name}`](policies/{row.name}.md)", f"`{row.order}`", row.summary, docs_pages.cited(row.source))
        for row in policy.POLICIES
    ]
    return _table(("policy", "order", "what it does", "who says so"), rows)


def codes() -> str:
    """The error codes."""
    return _table(("code", "means"), [(f"[`{code}`](errors/{code}.md)", text) for code, text in errors.CODES.items()])


def lint_rules() -> str:
    """The lint rules in one line each."""
    from kbuild.lint.rules import RULES

    rows = [(f"[`{rule.id}`](lint/{rule.id}.md)", rule.level, rule.says, "yes" if rule.fix else "") for rule in RULES]
    return _table(("rule", "level", "says", "`--fix`"), rows)


def variance_shift() -> str:
    """Δ by rate, for what may stand before a dropout."""
    from kbuild.lint.shift import delta_between

    rates = (0.05, 0.1, 0.2, 0.25, 0.3, 0.5)
    rows = [
        (f"{name}", *(f"{delta_between(rate, None if name == 'linear' else name, None):.3f}" for rate in rates))
        for name in ("linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid")
    ]
    return _table(("before the dropout", *(f"rate {rate:g}" for rate in rates)), rows)


#: What each limit counts.
COUNTED = {
    "file-size": "bytes of a spec's file",
    "depth": "mappings and lists inside each other",
    "nodes": "values, keys, lists and mappings of a file",
    "alias-expansion": "nodes that aliases repeat",
    "digits": "digits of a number",
    "input-rank": "axes of an input",
    "included-files": "files that `include` names",
    "table-columns": "columns that `input: {table: ...}` names",
    "category-size": "values that a category learns",
    "expression-length": "characters of an expression",
    "expression-value": "any value in an expression, without its sign",
    "exponent": "an exponent in an expression",
    "expanded-layers": "layers, after repeats and blocks are written out",
    "expanded-items": "layers, structures and rounds gone through for that",
    "block-depth": "blocks that use blocks",
    "parameters": "parameters of a model that is built",
    "model-config": "bytes of the config of a saved model",
    "arrays": "arrays of an archive",
    "array-bytes": "bytes that an array takes when it is read",
    "images": "pictures in a folder",
    "image-pixels": "pixels of a picture",
    "records": "records of TFRecord files",
    "file-columns": "columns of a CSV or Parquet file",
    "row-bytes": "bytes of a row of a CSV file",
    "labels": "different labels of a column",
}


def limits() -> str:
    """The named limits on input."""
    from kbuild.importing import reader as saved
    from kbuild.model import lower
    from kbuild.plan.passes import expand
    from kbuild.spec import expressions, include, parse, reader, table
    from kbuild.train.data import image_folder, images, npz, records, table_file
    from kbuild.train.data import table as rows

    of_specs = (reader, parse, include, table, expressions, expand, lower)
    of_data = (saved, npz, image_folder, images, records, table_file, rows)
    found = {name: f"{value:,}" for one in (*of_specs, *of_data) for name, value in one.LIMITS.items()}
    found["array-bytes"] = "the memory"
    return _table(("limit", "value", "counts"), [(f"`{name}`", found[name], COUNTED[name]) for name in found])


def command_names() -> tuple[str, ...]:
    """The commands of kbuild, in the order of its help."""
    from kbuild.cli import app

    return tuple(info.name or info.callback.__name__.strip("_") for info in app.registered_commands if info.callback)


def commands() -> str:
    """Every command's help."""
    parts = []
    for name in command_names():
        parts.append(f"## kbuild {name}\n\n```text\n{_help(name)}\n```")
    return "\n\n".join(parts)


def _help(name: str) -> str:
    import os

    from typer.testing import CliRunner

    from kbuild.cli import app

    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "100"
    printed = CliRunner().invoke(app, [name, "--help"], prog_name="kbuild").output
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def spec_keys() -> str:
    """Every key of a spec."""
    return docs_reference.spec_keys(_table)


def layers() -> str:
    """Every layer."""
    return docs_reference.layers(_table)


def peer_facts() -> str:
    """What is so in other tools, each with a check in benchmarks/peers/facts.py."""
    rows = [(fact.tool, fact.says, f"`{fact.source}`") for fact in FACTS]
    return _table(("tool", "what it does", "where"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "policies": policies,
    "codes": codes,
    "limits": limits,
    "spec-keys": spec_keys,
    "layers": layers,
    "peer-facts": peer_facts,
    "lint-rules": lint_rules,
    "variance-shift": variance_shift,
    "commands": commands,
}


def renewed(text: str) -> str:
    """A page with its generated blocks made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", block, text, flags=re.S)


def main() -> None:
    """Renew every page in place."""
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        if renewed(text) != text:
            page.write_text(renewed(text), encoding="utf-8")
            print(page.relative_to(ROOT))
    for page in docs_pages.write(ROOT / "docs"):
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
