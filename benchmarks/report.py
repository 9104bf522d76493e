"""Figures → Markdown. Ratios only; nothing that names a machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

HEAD = """# Benchmarks

Written by `make bench`; do not edit. Every figure is a ratio of medians over {repetitions} repetitions, taken side by
side on {cores} cores: the contestants run in turn, each in a process of its own. Absolute rates vary twofold between
machines of the same kind, so none are given. Tracing and the first epoch are excluded for all alike.

Python {python}, {packages}.
"""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def claim(ratio: float, bound: float, at_most: bool) -> str:
    """Whether a ratio keeps what kbuild promises."""
    kept = ratio <= bound if at_most else ratio >= bound
    return f"{'at most' if at_most else 'at least'} {bound:.3g}: {'kept' if kept else '**missed**'}"


def section(title: str, text: str, *tables: str) -> str:
    return "\n\n".join([f"## {title}", text, *tables]) + "\n"


def document(parts: Sequence[str], repetitions: int) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "kbuild"))
    # The cores this process may use, which a container sets below what the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    head = HEAD.format(repetitions=repetitions, cores=cores, python=platform.python_version(), packages=packages)
    return "\n".join([head, *parts])
