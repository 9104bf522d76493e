"""The one door to TensorFlow: nothing above kbuild.model imports it, and everything below goes through here."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kbuild.errors import InputError


def import_keras(quiet: bool = True) -> Any:
    """Import Keras on the TensorFlow backend.

    Args:
        quiet: whether TensorFlow's own log lines are kept off stderr.

    Raises:
        InputError: Keras runs on another backend in this process already, or cannot be imported.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        if quiet and "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with silenced() if quiet else _as_is(), _uncollected():
            try:
                import keras
            except ImportError as error:
                raise InputError(f"Keras and TensorFlow cannot be imported: {error}") from error
        if quiet:
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
    import keras

    if keras.config.backend() != "tensorflow":
        raise InputError(
            f"Keras runs on the {keras.config.backend()} backend in this process; kbuild needs tensorflow "
            "(set KERAS_BACKEND=tensorflow before importing keras)"
        )
    return keras


@contextmanager
def silenced() -> Iterator[None]:
    """File descriptor 2 away from the terminal: TensorFlow logs from C++ before it reads its own log level."""
    try:
        stderr = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        sys.stderr.flush()
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: an import makes a million objects and no garbage, and the search takes a fifth of it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def _as_is() -> Iterator[None]:
    yield
