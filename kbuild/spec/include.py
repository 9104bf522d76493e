"""`include: [blocks/resnet.yaml]`: blocks from files in the spec's folder, put into the tree before it is parsed.

The tree then stands alone: nothing after this stage, a run's `resolved.yaml` neither, needs the files again. Places in
messages are those of the included file.
"""

from __future__ import annotations

from pathlib import Path

from kbuild.errors import Problem, Span, SpecError, suggest
from kbuild.spec.reader import Items, Mapping, Node, Scalar, kind_of, read_file

#: Bounds on what is included, by the name the error shows.
LIMITS = {"included-files": 32}

_EXAMPLE = "for example  include: [blocks/resnet.yaml]"


def inline_includes(tree: Node, folder: Path, problems: list[Problem]) -> Node:
    """The tree with the blocks of its included files under `blocks`, and without `include`.

    Args:
        tree: the document's root.
        folder: the spec's folder; paths are relative to it and lead nowhere else.
        problems: collects everything wrong.
    """
    node = tree.get("include") if isinstance(tree, Mapping) else None
    if node is None or not isinstance(tree, Mapping):
        return tree
    found: list[tuple[Scalar, Node]] = []
    files = node.items if isinstance(node, Items) else (node,)
    if len(files) > LIMITS["included-files"]:
        message = f"`include` names more files than the limit included-files ({LIMITS['included-files']})"
        problems.append(Problem("limit", message, node.span))
        files = ()
    seen: dict[Path, Span] = {}
    for file in files:
        found.extend(_blocks(file, folder, seen, problems))
    own = tree.get("blocks")
    if isinstance(own, Mapping):
        found.extend(own)
    blocks = Mapping(_once(found, problems), own.span if isinstance(own, Mapping) else node.span)
    entries: list[tuple[Scalar, Node]] = []
    for key, value in tree:
        if key.value == "include" and own is None:
            entries.append((Scalar("blocks", key.span), blocks))
        elif key.value != "include":
            entries.append((key, blocks if key.value == "blocks" and isinstance(own, Mapping) else value))
    return Mapping(tuple(entries), tree.span)


def _once(entries: list[tuple[Scalar, Node]], problems: list[Problem]) -> tuple[tuple[Scalar, Node], ...]:
    first: dict[str, tuple[Scalar, Node]] = {}
    for key, body in entries:
        if key.value in first:
            span = first[key.value][0].span
            hint = f"the first stands in {span.source.name}, line {span.line}"
            problems.append(Problem("duplicate-name", f"two blocks are named {key.value[:60]!r}", key.span, hint))
        else:
            first[key.value] = (key, body)
    return tuple(first.values())


def _blocks(
    file: Node, folder: Path, seen: dict[Path, Span], problems: list[Problem]
) -> tuple[tuple[Scalar, Node], ...]:
    """The entries under `blocks` in an included file; none where there are problems."""
    if not isinstance(file, Scalar) or not isinstance(file.value, str) or not file.value.strip():
        message = f"`include` takes paths of files with blocks, not {kind_of(file)}"
        problems.append(Problem("wrong-type", message, file.span, _EXAMPLE))
        return ()
    path = _path(file, folder, problems)
    if path is None:
        return ()
    real = path.resolve()
    if real in seen:
        hint = f"it stands in line {seen[real].line} already"
        problems.append(Problem("duplicate-name", f"{file.value[:60]!r} is included twice", file.span, hint))
        return ()
    seen[real] = file.span
    try:
        _, tree = read_file(path, included=True)
    except SpecError as error:
        problems.extend(error.problems)
        return ()
    if not isinstance(tree, Mapping):
        message = f"an included file is a mapping that holds `blocks`, not {kind_of(tree)}"
        problems.append(Problem("wrong-type", message, tree.span, "for example  blocks: {NAME: {layers: [...]}}"))
        return ()
    for key, _ in tree:
        if key.value != "blocks":
            hint = suggest(key.value, ("blocks",))
            if key.value == "include":
                hint = "name every file in the spec's own `include`"
            message = f"an included file holds `blocks` alone, not {key.value[:60]!r}"
            problems.append(Problem("unknown-key", message, key.span, hint))
    blocks = tree.get("blocks")
    if isinstance(blocks, Mapping):
        return blocks.entries
    if blocks is not None:
        message = f"`blocks` takes a mapping of names to {{params, layers}}, not {kind_of(blocks)}"
        problems.append(Problem("wrong-type", message, blocks.span))
    elif len(tree) == 0:
        problems.append(Problem("missing-key", "an included file holds `blocks`; this one is empty", tree.span))
    return ()


def _path(file: Scalar, folder: Path, problems: list[Problem]) -> Path | None:
    """The path of an included file, if it is a file below the spec's folder."""
    text = file.value
    path = Path(text)
    shown = repr(text[:60])
    if path.is_absolute() or ".." in path.parts or text.startswith("~") or "\\" in text or ":" in text:
        message = f"`include` reads files below the spec's folder and no others, not {shown}"
        problems.append(Problem("file", message, file.span, "a relative path with / and without .."))
        return None
    path = folder / path
    try:
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()):
            message = (
                f"`include` reads files below the spec's folder and no others; {shown} is a link that leads out of it"
            )
            problems.append(Problem("file", message, file.span))
        elif not real.is_file():
            what = "is no file" if real.exists() else "is not there"
            near = suggest(path.name, (found.name for found in path.parent.glob("*.y*ml")))
            problems.append(Problem("file", f"the included {shown} {what}", file.span, near))
        else:
            return path
    except (OSError, ValueError, RuntimeError):
        problems.append(Problem("file", f"`include` cannot read {shown}: not a file name", file.span))
    return None
