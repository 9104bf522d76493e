"""How a training is spread over devices and machines: `mirrored`, `{mirrored: 2}` or `multiworker`."""

from __future__ import annotations

from dataclasses import dataclass

from kbuild.errors import Problem, suggest
from kbuild.spec.data_values import wrong
from kbuild.spec.reader import Mapping, Node, Scalar

#: Kinds of distribution, with what they mean.
STRATEGIES = {
    "mirrored": "the devices of one machine: all its GPUs, or as many replicas as are named",
    "multiworker": "the machines that the environment variable TF_CONFIG lists",
}

_MOST = 1024


@dataclass(frozen=True)
class Strategy:
    """A distribution.

    Attributes:
        kind: a key of STRATEGIES.
        replicas: of `mirrored`; None for one on every GPU, or one on the CPU.
    """

    kind: str
    replicas: int | None = None

    def __str__(self) -> str:
        return self.kind if self.replicas is None else f"{self.kind}:{self.replicas}"


def parse_strategy(text: str) -> Strategy | None:
    """`mirrored`, `mirrored:2`, `multiworker` or `none` as the command line writes them.

    Raises:
        ValueError: with what is wrong.
    """
    kind, _, count = text.partition(":")
    if text == "none":
        return None
    if kind in STRATEGIES and not count and ":" not in text:
        return Strategy(kind)
    if kind == "mirrored" and count.isdecimal() and 1 <= int(count) <= _MOST:
        return Strategy(kind, int(count))
    hint = suggest(kind, STRATEGIES)
    known = "mirrored, mirrored:2 (a number of replicas), multiworker or none"
    raise ValueError(f"there is no strategy {text[:60]!r}; it takes {known}" + (f" ({hint})" if hint else ""))


def read_strategy(name: str, node: Node, problems: list[Problem]) -> Strategy | None:
    """The value of `strategy` in the train section."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        try:
            return parse_strategy(node.value)
        except ValueError as error:
            problems.append(Problem("wrong-type", str(error), node.span))
            return None
    if isinstance(node, Mapping) and len(node) == 1 and node.entries[0][0].value == "mirrored":
        count = node.entries[0][1]
        value = count.value if isinstance(count, Scalar) else None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST:
            return Strategy("mirrored", value)
        wrong(f"{name}.mirrored", f"a number of replicas from 1 to {_MOST:,}", count, problems)
        return None
    wrong(name, "mirrored, {mirrored: 2} or multiworker", node, problems)
    return None
