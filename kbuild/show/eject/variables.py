"""Which variable holds which value: a path goes on in the variable it began in; what is read again is kept.

The trunk is `x`. Before an addition the value kept is `shortcut`; a path to a Multiply is a `gate`; others are
`branch_1`, `branch_2`, ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from kbuild.show.eject.program import Body, Make, Statement


@dataclass(frozen=True)
class Assignment:
    """Variables of a statement.

    Attributes:
        keep: a name and the variable it keeps the value of, before the statement runs.
        live: variables of values that are read later.
    """

    sources: tuple[str, ...]
    target: str
    keep: tuple[str, str] | None = None
    live: frozenset[str] = frozenset()


def assign(
    body: Body,
    entry: str | None,
    taken: Iterable[str] = (),
    loop: bool = False,
    results: dict[int, str] | None = None,
    inputs: dict[int, str] | None = None,
) -> list[Assignment]:
    """One assignment for each statement.

    Args:
        entry: the variable that holds what the body begins with.
        taken: variables that may not be used.
        loop: whether the last value must be in `entry` again.
        results: values that are read after the body, and the names they would have.
        inputs: values of input layers and their variables.
    """
    return _Assigner(body, entry, set(taken), results or {}, inputs or {}).run(loop)


class _Assigner:
    def __init__(self, body: Body, entry: str | None, taken: set[str], results: dict[int, str], inputs: dict[int, str]):
        self.body, self.entry, self.taken, self.results, self.inputs = body, entry, taken, results, inputs
        self.holds: dict[int, str] = {}
        if body.entry is not None and entry is not None:
            self.holds[body.entry] = entry
        self.readers: dict[int, list[Statement]] = {}
        for statement in body.statements:
            for source in dict.fromkeys(statement.inputs):
                self.readers.setdefault(source, []).append(statement)
        self.left = Counter({value: len(readers) for value, readers in self.readers.items()})
        self.left.update([*results, *inputs])

    def run(self, loop: bool) -> list[Assignment]:
        found = []
        for statement in self.body.statements:
            sources = tuple(self.holds[source] for source in statement.inputs)
            self.left.subtract(set(statement.inputs))
            keep = None
            if loop and self.entry is not None and statement is self.body.statements[-1]:
                target = self.entry
            elif statement.out in self.inputs:
                target = self.inputs[statement.out]
            elif statement.out in self.results and len(self.results) > 1:
                target = self._free(self.results[statement.out])
            else:
                target, keep = self._target(statement)
            self.holds[statement.out] = target
            found.append(Assignment(sources, target, keep, frozenset(self._live())))
        return found

    def _target(self, statement: Statement) -> tuple[str, tuple[str, str] | None]:
        merges = len(statement.inputs) > 1
        done = [
            self.holds[source]
            for source in statement.inputs
            # The last of three paths or more is a branch like the others.
            if not self.left[source] and (merges or len(self.readers[source]) < 3)
        ]
        if done:
            return ("x" if "x" in done else done[0]), None
        value = statement.inputs[0]
        if value in self.inputs:
            return self._free("x", "branch_1"), None
        join = self._join(value)
        if join == "Add" and not merges and self.left[value] == 1 and value not in self.results:
            kept = self._free("shortcut")
            moved, self.holds[value] = self.holds[value], kept
            return moved, (kept, moved)
        return self._free("gate" if join == "Multiply" else "branch_1"), None

    def _join(self, value: int) -> str:
        """The class of the merge that the second path from a value leads to."""
        at = self.readers[value][-1]
        while len(at.inputs) == 1 and len(self.readers.get(at.out, ())) == 1:
            at = self.readers[at.out][0]
        return at.cls if isinstance(at, Make) and len(at.inputs) > 1 else ""

    def _live(self) -> set[str]:
        return {name for value, name in self.holds.items() if self.left[value]}

    def _free(self, *wanted: str) -> str:
        """The first of the names that holds nothing needed, or the last with the next free number."""
        live = self._live() | self.taken
        for name in wanted:
            if name not in live:
                return name
        stem = wanted[-1].removesuffix("_1")
        number = 2
        while f"{stem}_{number}" in live:
            number += 1
        return f"{stem}_{number}"
