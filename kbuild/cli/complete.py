"""What the shell offers on <TAB>: policies, the paths of `--set`, specs, runs and saved models. No TensorFlow.

Every function takes what is typed so far and returns what it may become; where it returns nothing, the shell completes
file names itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

#: A completion looks this many folders down and at this many entries, so that it answers at once anywhere.
_DEPTH, _ENTRIES = 3, 3000
_SPECS, _MODELS = (".yaml", ".yml"), (".keras", ".h5", ".hdf5")

Offers = list[tuple[str, str]]


def orderings(incomplete: str) -> Offers:
    """The named policies with their orders; behind a first capital letter, the 49 orders."""
    from kbuild import policy

    named = [(one.name, f"{one.order}: {one.summary}") for one in policy.every()]
    orders = [(str(order), "") for order in policy.all_orders()] if incomplete[:1].isupper() else []
    return [offer for offer in (*named, *orders) if offer[0].startswith(incomplete)]


def rules(incomplete: str) -> Offers:
    """The rules of the lint; behind a comma, the next one."""
    from kbuild.lint.rules import every

    before, comma, begun = incomplete.rpartition(",")
    return [(f"{before}{comma}{rule.id}", rule.says) for rule in every() if rule.id.startswith(begun)]


def explainable(incomplete: str) -> Offers:
    """The rules, and `all`."""
    return [
        offer for offer in (("all", "every rule in one line"), *rules(incomplete)) if offer[0].startswith(incomplete)
    ]


def explainables(incomplete: str) -> Offers:
    """What `kbuild explain` takes: error codes, rules, policies."""
    from kbuild.errors import CODES
    from kbuild.policy import POLICIES

    offers = [*CODES.items(), *rules(""), *((one.name, one.summary) for one in POLICIES)]
    return [offer for offer in dict(offers).items() if offer[0].startswith(incomplete)]


def specs(incomplete: str) -> list[str]:
    """Specs below the folder that is typed."""
    return list(_files(incomplete, _SPECS, runs=False))


def runs(incomplete: str) -> list[str]:
    """Run directories below the folder that is typed."""
    return list(_files(incomplete, (), runs=True))


def models(incomplete: str) -> list[str]:
    """Saved models below the folder that is typed."""
    return list(_files(incomplete, _MODELS, runs=False))


def subjects(incomplete: str) -> list[str]:
    """Specs, runs and saved models below the folder that is typed."""
    return list(_files(incomplete, (*_SPECS, *_MODELS), runs=True))


def _files(incomplete: str, suffixes: tuple[str, ...], runs: bool) -> Iterator[str]:
    folder, begun = os.path.split(incomplete)
    pending, left = [(folder, 0)], _ENTRIES
    while pending:
        here, depth = pending.pop(0)
        try:
            entries = sorted(os.scandir(here or "."), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            left -= 1
            path = os.path.join(here, entry.name)
            if left < 0:
                return
            if entry.name.startswith(".") or not path.startswith(os.path.join(folder, begun)):
                continue
            if entry.is_dir():
                if runs and os.path.isfile(os.path.join(path, "plan.json")):
                    yield path
                elif depth < _DEPTH:
                    pending.append((path, depth + 1))
            elif entry.name.endswith(suffixes) and suffixes:
                yield path


# -- the paths of --set -------------------------------------------------------------------------------------------


def settings(ctx: typer.Context, args: list[str], incomplete: str) -> Offers:
    """Paths into the spec on the same command line, and what a few settings may be set to."""
    path, equals, value = incomplete.partition("=")
    if equals:
        return [(f"{path}={word}", says) for word, says in _values(path) if word.startswith(value)]
    tree = _tree(ctx, args)
    *steps, begun = path.split(".")
    node = tree
    for step in steps:
        node = _below(node, step)
    before = "".join(f"{step}." for step in steps)
    offers: dict[str, tuple[bool, str]] = dict(_known(steps))
    offers.update(_children(node))
    return [
        (f"{before}{key}{'.' if more else '='}", says) for key, (more, says) in offers.items() if key.startswith(begun)
    ]


def _tree(ctx: typer.Context, args: list[str]) -> Any:
    """The spec that the command line names, as plain data; None where there is none or it is broken."""
    from kbuild.errors import KbuildError
    from kbuild.spec.reader import plain, read_file

    # While the shell completes, arguments stand in `ctx.args` as they were typed.
    for name in (*ctx.args, *args):
        path = Path(name)
        if path.suffix not in _SPECS or not path.is_file():
            continue
        try:
            return plain(read_file(path)[1])
        except KbuildError:
            return None
    return None


def _below(node: Any, step: str) -> Any:
    if isinstance(node, dict):
        return node.get(step)
    return node[int(step)] if isinstance(node, list) and step.isdecimal() and int(step) < len(node) else None


def _children(node: Any) -> Iterator[tuple[str, tuple[bool, str]]]:
    """Key → whether there is more below it, and what stands there."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, (isinstance(value, (dict, list)), _shown(value))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield str(index), (isinstance(value, (dict, list)), _shown(value))


def _shown(value: Any) -> str:
    """What a value is, in a few words: a layer by its class and name."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {one}" if not isinstance(one, (dict, list)) else str(key) for key, one in value.items()
        )[:60]
    return f"{len(value)} entries" if isinstance(value, list) else str(value)[:60]


def _known(steps: list[str]) -> Iterator[tuple[str, tuple[bool, str]]]:
    """Keys that a section takes though the spec may not write them, and the arguments of a layer."""
    from kbuild import policy
    from kbuild.catalog import facts
    from kbuild.spec.ordering import ORDERING_KEYS
    from kbuild.spec.parse import TOP_KEYS
    from kbuild.spec.table import TABLE_KEYS
    from kbuild.spec.train import LATER_KEYS, TRAIN_KEYS

    sections: dict[tuple[str, ...], tuple[str, ...]] = {
        (): TOP_KEYS,
        ("ordering",): ("policy", "order", *ORDERING_KEYS),
        ("ordering", "dropout"): ("rate", "kind"),
        ("ordering", "where"): ("norm", "dropout"),
        ("input", "table"): TABLE_KEYS,
        ("train",): tuple(key for key in TRAIN_KEYS if key not in LATER_KEYS),
    }
    for key in sections.get(tuple(steps), ()):
        yield key, (key in ("dropout", "where") and steps == ["ordering"], "")
    signature = facts.signature("layer", steps[-1]) if len(steps) > 1 and steps[-1] not in policy.LETTERS else None
    for argument in signature.arguments if signature is not None else ():
        default = signature.defaults.get(argument, "required") if signature is not None else ""
        yield argument, (False, f"default {default}" if default != "required" else "required")


def _values(path: str) -> Offers:
    from kbuild import policy

    if path in ("ordering", "ordering.policy"):
        return orderings("")
    choices = {
        "ordering.dropout.kind": policy.DROPOUT_KINDS,
        "ordering.where.norm": policy.WHERE,
        "ordering.where.dropout": policy.WHERE,
        "ordering.first": ("auto", "keep"),
        "ordering.head": ("auto", "keep"),
        "ordering.closing": ("auto", "none"),
        "ordering.residual": ("after_merge", "in_branch"),
    }
    return [(word, "") for word in choices.get(path, ())]
