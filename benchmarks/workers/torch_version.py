"""The version of PyTorch in .venv-bench."""

from __future__ import annotations

import torch

from benchmarks.workers.protocol import report


def main() -> None:
    report(version=str(torch.__version__))


if __name__ == "__main__":
    main()
