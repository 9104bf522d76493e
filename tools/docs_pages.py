"""Pages of the manual that are made whole from the tables in the code: one for each policy, lint rule and error code.

`python -m tools.docs_tables` writes them too; a test holds them current. `kbuild explain NAME` says the same in a
terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from kbuild.errors import CODES, SpecError
from kbuild.lint.check import lint
from kbuild.lint.finding import Rule
from kbuild.lint.rules import BY_ID, RULES
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import DEFAULT_POLICY, LETTERS, POLICIES, Policy
from kbuild.show.codes import EXPLAINED, Explained
from kbuild.show.html import picture
from kbuild.show.policies import EXAMPLE, draw
from kbuild.spec.load import parse_spec

#: Where a policy was measured again: the text of a link, its page, and the policies that are in it.
MEASURED = (
    (
        "four orders on two data sets",
        "guide.md",
        ("conventional", "dropout-before-bn", "after-activation", "no-dropout"),
    ),
    ("the ten orders of Stack Overflow", "papers/stackoverflow.md", ("conventional", "dropout-before-bn")),
    ("Mishkin et al.'s claim", "papers/mishkin.md", ("plain", "no-dropout", "bn-after-activation")),
    ("Li et al.'s claim", "papers/li.md", ("conventional", "dropout-before-bn", "last-dropout")),
    ("He et al.'s claim", "papers/he.md", ("no-dropout", "preact")),
    ("Chen et al.'s claim", "papers/chen.md", ("plain", "no-dropout", "ic")),
)

MADE = "<!-- Made by `python -m tools.docs_tables`; edit the table in the code. -->"


def pages() -> Iterator[tuple[str, str]]:
    """Every page and drawing, as its place under docs/ and its text."""
    for policy in POLICIES:
        plan = _example(policy.name)
        yield f"policies/{policy.name}.svg", picture(plan)
        yield f"policies/{policy.name}.md", _policy(policy, plan)
    for rule in RULES:
        yield f"lint/{rule.id}.md", _rule(rule)
    for code in CODES:
        yield f"errors/{code}.md", _code(code, EXPLAINED[code])


def cited(text: str) -> str:
    """A source with links where it names an identifier.

    >>> cited("Ioffe & Szegedy 2015 (arXiv:1502.03167)")
    'Ioffe & Szegedy 2015 ([arXiv:1502.03167](https://arxiv.org/abs/1502.03167))'
    """
    text = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"Stack Overflow (\d+)", r"[Stack Overflow \1](https://stackoverflow.com/questions/\1)", text)


def _page(*parts: str) -> str:
    return "\n\n".join([*(part for part in parts if part), MADE]) + "\n"


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _example(ordering: str) -> Plan:
    return plan_spec(parse_spec(EXAMPLE % ordering))


# -- policies -----------------------------------------------------------------------------------------------------


def _policy(policy: Policy, plan: Plan) -> str:
    default = " It is what a spec without `ordering` has." if policy.name == DEFAULT_POLICY else ""
    letters = ", ".join(f"{letter} {LETTERS[letter]}" for letter in policy.order.letters)
    norms = [layer for layer in plan.layers if layer.role == "N"]
    folds = sum(layer.folds_into is not None for layer in norms)
    counted = f"{plan.total_params:,} parameters, {plan.trainable_params:,} of them trainable"
    folding = f"; {folds} of {len(norms)} normalizations fold into a weight layer at export" if norms else ""
    dashed = " Dashed: stands elsewhere than beside its weight layer." if ' moved"' in picture(plan) else ""
    again = ", ".join(f"[{text}](../{page})" for text, page, names in MEASURED if policy.name in names)
    found = dict.fromkeys(one.rule for one in lint(plan) if one.level != "info")
    linted = "".join(f"\n* [`{name}`](../lint/{name}.md): {BY_ID[name].says}" for name in found)
    return _page(
        f"# {policy.name}",
        f"**{policy.order}** ({letters}). {policy.summary}{default}",
        f"Source: {cited(policy.source)}.",
        f"It says: {policy.claim}" if policy.claim else "",
        f"Measured again: {again}." if again else "",
        _block("yaml", f"ordering: {policy.name}"),
        "## What it sets\n\n" + _block("yaml", yaml.safe_dump(dict(policy.defaults), sort_keys=False))
        if policy.defaults
        else "",
        "## A small residual network under it",
        f"Two convolutions in a residual branch between a first unit and a head: {counted}{folding}.{dashed}",
        f"![The layers of the small network under {policy.name}, from input to head]({policy.name}.svg)",
        _block("text", "\n".join(draw(plan))),
        f"The lint warns of:\n{linted}" if linted else "The lint has no warning for it.",
        "[All policies](../policies.md), and [what happens at the edges](../policies.md#what-happens-at-the-edges).",
    )


# -- lint rules ---------------------------------------------------------------------------------------------------


def _rule(rule: Rule) -> str:
    return _page(
        f"# {rule.id}",
        f"**{rule.level}**: {rule.says}.",
        rule.why.strip(),
        f"Source: {cited(rule.source)}.",
        f"`--fix` {rule.fix}." if rule.fix else "",
        "## Found in",
        _block("yaml", rule.bad.strip()),
        "## Not in",
        _block("yaml", rule.good.strip()),
        f"`# kbuild: ignore[{rule.id}]` on the line suppresses it. [All rules](../lint.md).",
    )


# -- error codes --------------------------------------------------------------------------------------------------


def _code(code: str, told: Explained) -> str:
    parts = [f"# error[{code}]", f"{CODES[code][0].upper()}{CODES[code][1:]}.", told.why]
    if told.bad is not None and told.good is not None:
        parts += [f"## Found in\n\n`{told.command}` on", _block("yaml", told.bad) if told.bad else "an empty file"]
        parts += ["" if told.train else f"reports\n\n{_block('text', _report(code, told))}"]
        parts += ["## Not in", _block("yaml", told.good)]
    return _page(*parts, "[All codes](../errors.md).")


def _report(code: str, told: Explained) -> str:
    assert told.bad is not None
    try:
        plan_spec(parse_spec(told.bad, None, told.options[1:], name="model.yaml"))
    except SpecError as error:
        return str(error)
    raise AssertionError(f"the example of {code} has no error")


def write(docs: Path) -> Iterator[Path]:
    """Write the pages that are not current, remove those of names that are gone; the paths that changed."""
    wanted = {docs / place: text for place, text in pages()}
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            yield path
    for path in leftovers(docs):
        path.unlink()
        yield path


def leftovers(docs: Path) -> list[Path]:
    """Made pages whose policy, rule or code is gone."""
    wanted = {docs / place for place, _ in pages()}
    there = [path for folder in ("policies", "lint", "errors") for path in (docs / folder).glob("*.*")]
    return [path for path in there if path not in wanted]
