"""What Keras says of its classes and their arguments, in one sentence each → kbuild/catalog/keras_docs.json.

`python tools/keras_docs.py`, with the Keras that keras.json was made from. `kbuild schema` gives them to editors.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from kbuild.catalog import facts

TARGET = Path(__file__).parent.parent / "kbuild" / "catalog" / "keras_docs.json"
#: Longer sentences are cut at a word.
LONGEST = 240


def sentence(text: str) -> str:
    """The first sentence of a text, in one line, without code fences."""
    text = " ".join(re.sub(r"```.*?```", "", text, flags=re.S).split())
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z`\"])", text)[0]
    return first if len(first) <= LONGEST else first[:LONGEST].rsplit(" ", 1)[0] + " ..."


def arguments(doc: str) -> dict[str, str]:
    """The sentences of the section `Args:` (or `Arguments:`)."""
    section = re.search(r"^(?:Args|Arguments):\s*\n(.*?)(?=^\S|\Z)", doc, re.M | re.S)
    if section is None:
        return {}
    body = inspect.cleandoc(section[1])
    found = {}
    for entry in re.split(r"^(?=[\w, ]+:)", body, flags=re.M):
        names, colon, text = entry.partition(":")
        if colon and text.strip():
            found.update({name.strip(): sentence(text) for name in names.split(",")})
    return found


def main() -> None:
    """Write the file."""
    import keras

    modules: dict[str, Any] = dict.fromkeys(facts.MODULES, keras)
    for kind, path in facts.MODULES.items():
        for part in path.split(".")[1:]:
            modules[kind] = getattr(modules[kind], part)
    table: dict[str, dict[str, Any]] = {}
    for kind in facts.SECTIONS:
        for name in facts.names(kind):
            doc = inspect.cleandoc(getattr(modules[kind], name).__doc__ or "")
            taken = facts.signature(kind, name)
            known = {key: text for key, text in arguments(doc).items() if taken is not None and key in taken.arguments}
            table.setdefault(kind, {})[name] = {"says": sentence(doc), "arguments": known}
    about = (
        f"First sentences of the docstrings of Keras {keras.__version__}, Apache License 2.0, by tools/keras_docs.py"
    )
    text = json.dumps({"about": about, **table}, indent=0, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
