"""What PyYAML says of a syntax error, in words for someone who wrote a spec."""

from __future__ import annotations

import yaml

from kbuild.errors import Source, Span

#: What PyYAML says → what it means to someone who wrote a spec, and what to do.
_WORDS_OF_YAML = {
    "mapping values are not allowed in this context": (
        "a ':' where no mapping can begin",
        "one `key: value` a line, with a blank behind ':'; text that holds ': ' needs quotes",
    ),
    "found character that cannot start any token": (
        "a character that nothing can begin with",
        "put the text in quotes",
    ),
    "did not find expected '-' indicator": ("an entry of a list begins with '-'", "indent it as the entries before it"),
    "did not find expected key": ("a key does not stand where the keys before it do", "indent it as they are"),
    "did not find expected ',' or '}'": ("expected ',' or '}'", ""),
    "did not find expected ',' or ']'": ("expected ',' or ']'", ""),
    "found unexpected end of stream": ("the text ends inside it", ""),
    "found unknown escape character": ("no such escape after '\\'", "in single quotes '\\' stands for itself"),
    "block sequence entries are not allowed in this context": (
        "a list with dashes cannot begin here",
        "write each entry on a line of its own; text that begins with '-' needs quotes",
    ),
    "found duplicate anchor": ("an anchor of that name stands already", ""),
}


def in_words(error: yaml.MarkedYAMLError, source: Source, span: Span) -> tuple[str, Span, str]:
    """The message, place and hint of a syntax error; what was not closed is where the reader has to look."""
    what, begun = error.problem or error.context or "not YAML", error.context_mark
    message, hint = _WORDS_OF_YAML.get(what, (what, ""))
    if source.line(span.line)[span.column - 1 : span.column] == "\t":
        return "a tab cannot indent", span, "indent with blanks"
    opened = (error.context or "").removeprefix("while parsing a ").removeprefix("while scanning a ")
    if begun is not None and opened in ("flow mapping", "flow sequence", "quoted scalar", "double-quoted scalar"):
        sign = source.line(begun.line + 1)[begun.column : begun.column + 1]
        if what == "found unexpected end of stream" or not source.line(span.line).strip():
            return f"{sign} is never closed", Span(source, begun.line + 1, begun.column + 1), ""
        if opened.startswith("flow"):
            hint = f"the {sign} of line {begun.line + 1} is not closed before this"
    elif begun is not None and begun.line + 1 != span.line and hint.startswith("indent"):
        hint += f" (from line {begun.line + 1})"
    return message, span, hint
