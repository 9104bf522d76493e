"""Lines of a spec in the zoo against lines of the source of the same model in keras.applications.

Counted are lines that do something: in the spec all but blank lines and comments; in Keras the model's function and
every function that it reaches in the modules of models, without blank lines, comments and docstrings (and without
`imagenet_utils`, which checks arguments). The source is read, not imported.

`python -m tools.zoo_lines` renews the table in docs/zoo.md.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "zoo.md"

#: Spec in specs/zoo → the module below keras.applications and the function that builds the same model.
SAME = {
    "vgg16": ("vgg16", "VGG16"),
    "resnet50": ("resnet", "ResNet50"),
    "resnet50v2": ("resnet_v2", "ResNet50V2"),
    "densenet121": ("densenet", "DenseNet121"),
    "mobilenetv2": ("mobilenet_v2", "MobileNetV2"),
    "mobilenetv3small": ("mobilenet_v3", "MobileNetV3Small"),
}


def spec_lines(text: str) -> int:
    """Lines that are neither blank nor comments.

    >>> spec_lines("# VGG\\n\\nlayers:\\n  - Flatten # to vectors\\n")
    2
    """
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


def source_lines(folder: Path, module: str, function: str) -> int:
    """Lines of the function and of all it reaches in its own and other modules of the folder."""
    pending, seen, total = [(module, function)], set(), 0
    while pending:
        at = pending.pop()
        path = folder / f"{at[0]}.py"
        if at in seen or not path.is_file():
            continue
        seen.add(at)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        node = next((x for x in tree.body if isinstance(x, (ast.FunctionDef, ast.ClassDef)) and x.name == at[1]), None)
        if node is None:
            continue
        total += len(_code_lines(text) & _own_lines(node))
        imported = {
            alias.asname or alias.name: alias.name
            for x in tree.body
            if isinstance(x, ast.ImportFrom) and x.module == "keras.src.applications"
            for alias in x.names
            if alias.name != "imagenet_utils"
        }
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                pending.append((at[0], inner.id))
            elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id in imported:
                pending.append((imported[inner.value.id], inner.attr))
    return total


def _own_lines(node: ast.FunctionDef | ast.ClassDef) -> set[int]:
    """The lines of a definition without those of docstrings."""
    lines = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str):
            lines -= set(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


def _code_lines(text: str) -> set[int]:
    """The lines that hold more than blanks and comments."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {line for x in tokens if x.type not in skipped for line in range(x.start[0], x.end[0] + 1)}


def rows() -> list[tuple[str, ...]]:
    """Model, parameters, lines of spec, lines of Keras, ratio."""
    from kbuild.plan.pipeline import compile_spec

    spec = importlib.util.find_spec("keras")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "src" / "applications"
    found = []
    for name, (module, function) in SAME.items():
        path = ROOT / "specs" / "zoo" / f"{name}.yaml"
        ours, theirs = spec_lines(path.read_text(encoding="utf-8")), source_lines(folder, module, function)
        parameters = compile_spec(path)[1].total_params
        link = f"[{name}](../specs/zoo/{name}.yaml)"
        found.append((link, f"{parameters:,}", str(ours), str(theirs), f"{theirs / ours:.0f}"))
    return found


HEADER = ("model", "parameters", "lines of spec", "lines of Keras {}", "times")


def table() -> str:
    """The table in docs/zoo.md, with the installed Keras' version in its head."""
    header = [cell.format(importlib.metadata.version("keras")) for cell in HEADER]
    lines = [header, ["---"] * len(header), *rows()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    """Renew the page."""
    text = PAGE.read_text(encoding="utf-8")
    new = re.sub(r"(<!-- lines -->\n).*?(<!-- end of lines -->)", rf"\g<1>{table()}\n\g<2>", text, flags=re.S)
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
