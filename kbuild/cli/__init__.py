"""The command line: one function per command, no logic of its own.

Results go to stdout, progress and diagnostics to stderr. Exit codes: 0 fine, 1 the work failed, 2 the input was wrong,
130 interrupted. Nothing here imports TensorFlow before a command needs it.
"""

from __future__ import annotations

from kbuild.cli.main import app, main

__all__ = ["app", "main"]
