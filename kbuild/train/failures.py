"""What goes wrong in a step of a training, and how TensorFlow's errors become it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kbuild.errors import TrainingError


class Diverged(TrainingError):
    """The loss became NaN or infinite."""


class OutOfMemory(TrainingError):
    """The device has no memory for a step."""


class NonFinite(Exception):
    """The loss of step `step` (from 0, within the epoch) is NaN or infinite."""

    def __init__(self, step: int):
        super().__init__(step)
        self.step = step


@contextmanager
def naming_step_failures(batch_size: int) -> Iterator[None]:
    """Turn errors of TensorFlow into `OutOfMemory`, or a TrainingError with a reason."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        message = f"out of memory at batch size {batch_size}; try a smaller one (--batch-size)"
        raise OutOfMemory(message) from error
    except tf.errors.InvalidArgumentError as error:
        raise TrainingError(f"TensorFlow refuses a step: {first_reason(str(error))}") from error


def first_reason(text: str) -> str:
    """The line of an error of Keras or TensorFlow that says why: `indices[3,5] = 1999 is not in [0, 1000)`."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [
        line.strip() for line in plain.splitlines() if line.strip() and not line.startswith("Exception encountered")
    ]
    return next((line for line in lines if " is not in [" in line or "must be" in line), lines[0] if lines else "")
