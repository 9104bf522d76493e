"""What a training gave, and what one would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import plural
from kbuild.files import finite
from kbuild.train.progress import shown


@dataclass(frozen=True)
class RunResult:
    """What one training gave.

    Attributes:
        run_dir: the run directory.
        saved_model: the exported SavedModel in it.
        metrics: split ("train", "validation", "test") → metric → value, of the final model.
        epochs: epochs trained; a callback may stop before the spec's number.
        seconds: from the start of the command to its end, reading and exporting included.
        ordering: {"policy", "order", "because"}.
        parity: the figures of `export/parity.json`.
        best: the epoch with the lowest validation loss (or loss), and that loss.
        images_per_second: training speed, over the epochs after the first (which compiles) where there are any.
    """

    run_dir: Path
    saved_model: Path
    metrics: dict[str, dict[str, float]]
    epochs: int
    seconds: float
    ordering: dict[str, Any]
    parity: dict[str, Any]
    best: dict[str, Any]
    images_per_second: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        paths = {"run_dir": str(self.run_dir), "saved_model": str(self.saved_model)}
        return dict(finite({**asdict(self), **paths}))

    def text(self) -> str:
        """For people."""
        lines = [f"{split:<10} {shown(values)}" for split, values in self.metrics.items()]
        difference = max(figure["max_abs"] for figure in self.parity["outputs"].values())
        epochs = plural(self.epochs, "epoch")
        return "\n".join(
            [
                *lines,
                f"trained    {epochs} in {self.seconds:.1f} s; the best was epoch {self.best['epoch']}",
                f"run        {self.run_dir}",
                f"SavedModel {self.saved_model} (proven in a clean process, largest difference {difference:.2g})",
            ]
        )


@dataclass(frozen=True)
class Followed:
    """What a worker did that writes nothing.

    Attributes:
        worker, workers: which one of how many, from 0.
        epochs: epochs trained.
    """

    worker: int
    workers: int
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        epochs = plural(self.epochs, "epoch")
        return f"worker {self.worker} of {self.workers} (from 0) trained {epochs}; worker 0 writes the run"


@dataclass(frozen=True)
class DryRun:
    """What a training would do: nothing is written.

    Attributes:
        splits: split → number of examples.
        steps: steps per epoch.
        notes: what was done to the data.
        parameters: number of weights.
    """

    name: str
    ordering: dict[str, Any]
    splits: dict[str, int]
    epochs: int
    batch_size: int
    seed: int
    steps: int
    parameters: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {**asdict(self), "notes": list(self.notes)}

    def text(self) -> str:
        """For people."""
        splits = ", ".join(f"{rows:,} {name}" for name, rows in self.splits.items())
        length = f"{plural(self.epochs, 'epoch')} of {plural(self.steps, 'step')}"
        lines = [
            f"would train {self.name} ({self.parameters:,} parameters, {self.ordering['order']})",
            f"on {splits} examples",
            f"for {length} at batch size {self.batch_size}, seed {self.seed}",
        ]
        return "\n".join([*lines, *self.notes[1:]])
