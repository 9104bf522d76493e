"""`kbuild explain`: the page of an error code, a lint rule or a policy, in the terminal. No TensorFlow."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, TextIO

import typer

from kbuild.cli import complete, options
from kbuild.errors import CODES, InputError, suggest
from kbuild.resources import page

#: A line that names more than this many is no help.
_MOST = 4


def explain(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Error codes, lint rules, policies; without one, all are listed.",
            show_default=False,
            autocompletion=complete.explainables,
        ),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Explain what stands in brackets in a message: an error code or a lint rule; or a policy.

    For example:  kbuild explain unknown-layer dropout-before-norm preact
    """
    texts = [text for name in names for text in _texts(name)] if names else _listed()
    print("\n\n".join(text.strip("\n") for text in texts))


def more(names: Iterable[str]) -> str:
    """The last line of a report: the command that explains its codes.

    >>> more(["shape", "inputs", "shape"])
    'more: kbuild explain shape inputs'
    """
    return "more: kbuild explain " + " ".join(list(dict.fromkeys(names))[:_MOST])


#: The head of a problem or a finding: its place, its level, its code in brackets.
_HEAD = re.compile(r"(?m)^(\S.*?\b(?:error|warning|info)\[|(?:error|warning|info)\[)([a-z0-9-]+)(?=\]: )")


def linked(report: str, stream: TextIO) -> str:
    """A report whose codes are hyperlinks to their pages, where it goes to a terminal and the manual is at hand.

    Terminals that know no hyperlinks (OSC 8) show the code alone.
    """
    if not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return report
    return _HEAD.sub(_link, report)


def _link(head: re.Match[str]) -> str:
    before, code = head.groups()
    # A code may be an error's and a rule's; the word before it tells.
    kinds = ("errors", "lint") if before.endswith("error[") else ("lint", "errors")
    found = next((one for kind in kinds if (one := page(kind, code)) is not None), None)
    if found is None:
        return head[0]
    return f"{before}\x1b]8;;{found.as_uri()}\x1b\\{code}\x1b]8;;\x1b\\"


def _texts(name: str) -> list[str]:
    """All that has this name; `loss-activation-mismatch` is both a code and a rule."""
    from kbuild import plugins, policy
    from kbuild.lint import formats, rules
    from kbuild.show import codes, policies

    found = [codes.in_full(name)] if name in CODES else []
    with contextlib.suppress(InputError):
        found.append(formats.explain(rules.rule(name).id))
    with contextlib.suppress(policy.OrderError):
        chosen, _ = policy.find(name)
        found += [policies.in_full(chosen)] if chosen is not None else []
    if not found:
        for loaded in (
            plugins.load(rules.GROUP, name, rules.checked),
            plugins.load(policy.GROUP, name, policy.checked),
        ):
            if loaded is not None:
                raise InputError(f"{loaded.complaint}: {loaded.refusal}")
        named = (*plugins.names(rules.GROUP), *plugins.names(policy.GROUP))
        hint = suggest(name, (*CODES, *rules.BY_ID, *policy.BY_NAME, *named)) or "`kbuild explain` lists what there is"
        raise InputError(f"{name[:60]!r} is no error code, lint rule or policy; {hint}")
    return found


def _listed() -> Iterator[str]:
    from kbuild.lint import formats
    from kbuild.policy import every

    width = max(map(len, CODES))
    yield "\n".join(["error codes", *(f"  {code:<{width}}  {says}" for code, says in CODES.items())])
    yield "\n".join(["lint rules", *(f"  {line}" for line in formats.explain_all().splitlines())])
    named = every()
    width = max(len(one.name) for one in named)
    yield "\n".join(["policies", *(f"  {one.name:<{width}}  {one.order!s:<7}  {one.summary}" for one in named)])
