"""What a state after every epoch costs: the same trainer with and without checkpoints, in turn in one process.

Each turn trains the same number of epochs on one loop, whose weights go on; the order of the two changes from turn to
turn, so that drift cancels out. The first epoch of a turn is not timed, for chunks of steps find their length in it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.workers.protocol import BATCH, read_task, report
from kbuild.plan.pipeline import plan_spec
from kbuild.resources import spec_path
from kbuild.spec.load import load_spec
from kbuild.train.checkpoint import read_state
from kbuild.train.data.arrays import Data, Split
from kbuild.train.loop import Loop
from kbuild.train.prepare import Prepared, build, train_settings
from kbuild.train.trainer import Trainer

TURNS = 8


def main() -> None:
    task = read_task()
    x, y, _, _ = task.arrays()
    spec = load_spec(spec_path(f"mnist_{task.model}"))
    plan, settings = plan_spec(spec), train_settings(spec, batch_size=BATCH, seed=task.seed)
    from kbuild.plan.losses import resolve_losses

    (source,), (output,) = plan.inputs, plan.outputs
    data = Data(Split({source.name: x}, {output: y}), None, None)
    model = build(Prepared(settings, resolve_losses(settings, plan), data), plan)
    loop = Loop(model, data.train, BATCH)
    with tempfile.TemporaryDirectory() as place:

        def seconds(turn: int, kept: bool) -> float:
            ends: list[float] = []
            checkpoints = Path(place) / str(turn) if kept else None
            Trainer(
                loop,
                data,
                [],
                task.epochs,
                task.seed,
                checkpoints=checkpoints,
                on_epoch=lambda _: ends.append(time.perf_counter()),
            ).run()
            return (ends[-1] - ends[0]) / (len(ends) - 1)

        seconds(-1, True)  # tracing
        ratios = []
        for turn in range(TURNS):
            order = (True, False) if turn % 2 else (False, True)
            taken = {kept: seconds(turn, kept) for kept in order}
            ratios.append(taken[True] / taken[False])
        state = Path(place) / str(TURNS - 1) / "last" / "state.npz"
        assert read_state(state)[0]["epoch"] == task.epochs
        report(ratio=statistics.median(ratios), epoch=taken[False], megabytes=state.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
