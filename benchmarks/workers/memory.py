"""Peak memory of one training under a limit. TensorFlow is loaded and has trained before the limit is set."""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.workers.protocol import BATCH, report

SPEC = """\
name: memory
input: {shape: [784]}
layers:
  - Dense: {units: 128, activation: relu}
  - Dense: 10
train:
  data: {npy: FOLDER}
  loss: sparse_categorical_crossentropy
  epochs: 1
  batch_size: BATCH
  validation: 0
"""


def status(key: str) -> int:
    """Bytes that /proc says of this process: VmData, VmHWM, VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system does not tell {key}")


def train_kbuild(folder: Path) -> None:
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import load_spec
    from kbuild.train.prepare import build, prepare, train_settings
    from kbuild.train.trainer import Trainer

    (folder / "spec.yaml").write_text(SPEC.replace("FOLDER", ".").replace("BATCH", str(BATCH)))
    spec = load_spec(folder / "spec.yaml")
    plan = plan_spec(spec)
    prepared = prepare(spec, plan, train_settings(spec))
    from kbuild.train.loop import Loop

    model = build(prepared, plan)
    Trainer(Loop(model, prepared.data.train, BATCH), prepared.data, [], 1).run()


def train_keras(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((784,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = (np.load(folder / f"{name}_train.npy") for name in "xy")
    model.fit(x, y, batch_size=BATCH, verbose=0)


TRAININGS: dict[str, Callable[[Path], None]] = {"kbuild": train_kbuild, "keras": train_keras}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contestant", choices=TRAININGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("allowed", type=int)
    given = parser.parse_args()
    import tempfile

    from benchmarks.memory import write

    train = TRAININGS[given.contestant]
    with tempfile.TemporaryDirectory() as small:
        write(Path(small), 2**22)
        train(Path(small))
    limit = status("VmData") + given.allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before = status("VmRSS")
    try:
        train(given.folder)
    except MemoryError:
        report(trained=False)
        return
    except Exception as error:  # TensorFlow has errors of its own for memory
        if "allocat" not in str(error).lower() and "memory" not in str(error).lower():
            raise
        report(trained=False)
        return
    report(trained=True, peak=float(status("VmHWM") - before))


if __name__ == "__main__":
    main()
