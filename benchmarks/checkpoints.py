"""What checkpoints cost."""

from __future__ import annotations

from benchmarks.harness import in_turn, worker
from benchmarks.report import claim, section, table

#: A model to the words of its worker: many turns of few epochs, each long enough that every one of them has its state.
_TRAINED = {"mlp": ("--rows", 40_000, "--epochs", 5), "cnn": ("--rows", 1_920, "--epochs", 5)}


def checkpoints(repetitions: int) -> str:
    """Training with a state after every epoch against training without."""
    from benchmarks.sections import find_mnist

    title, data = "Checkpoints after every epoch", find_mnist()
    if data is None:
        return section(title, "Skipped: MNIST is neither shared with this checkout nor in Keras' cache.")
    contestants = {
        name: lambda seed, name=name, words=words: worker(
            "checkpoints", "--model", name, "--data", data, *words, "--seed", seed
        )
        for name, words in _TRAINED.items()
    }
    rows = []
    for name, result in in_turn(contestants, repetitions).items():
        ratio = result.median("ratio")
        size = f"{result.median('megabytes'):.1f}"
        rows.append([f"`specs/mnist_{name}.yaml`", size, f"{100 * (ratio - 1):+.1f}", claim(ratio, 1.03, at_most=True)])
    text = (
        "The trainer of `kbuild train` with and without checkpoints, in turn in one process; validation, history and "
        "the export are left out. The training copies its state and goes on while a thread writes and flushes it, and "
        "the best model with it. Epochs last one to two seconds here; in longer ones a state costs a smaller share."
    )
    return section(title, text, table(["spec", "state, MB", "longer by, %", "promised (as a ratio)"], rows))
