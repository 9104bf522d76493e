"""Whether a process works on a run: a lock on a file in its directory, which the system drops when the process ends.

However the process ends (SIGKILL, a crash, a reboot), the lock is gone with it, and no process number has to be
trusted that another process, container or machine may have by now.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kbuild.errors import InputError
from kbuild.files import refusal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: The file in a run directory: {"pid", "since"} of the process that holds it, or that held it last.
LOCK = ".lock"

#: `kbuild runs` looks at a lock for a moment; who wants to hold it tries this often, 50 ms apart.
_TRIES = 10


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a directory's lock; where the file system knows no locks, nothing is held.

    Raises:
        InputError: another process has it, or its file cannot be written.
        TrainingError: the disk is full.
    """
    path = folder / LOCK
    try:
        stream = path.open("ab", buffering=0)  # nothing is left to write when it is closed
    except OSError as error:
        raise refusal(f"cannot write {path}", error) from error
    with stream:
        if not _lock(stream):
            raise InputError(f"{folder} is in use: {holder(folder)}")
        with suppress(OSError):  # a full disk is told by what is written next
            stream.truncate(0)
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            stream.write((json.dumps({"pid": os.getpid(), "since": now}) + "\n").encode())
        yield


def _lock(stream: Any) -> bool:
    if fcntl is None:
        return True
    for _ in range(_TRIES):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return True
    return False


def is_held(folder: Path) -> bool:
    """Whether a process has the directory's lock; where the file system knows none, whether one of its number runs."""
    try:
        with (folder / LOCK).open(encoding="utf-8") as stream:
            try:
                if fcntl is None:
                    raise OSError
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                return True
            except OSError:
                return _exists(json.load(stream)["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def holder(folder: Path) -> str:
    """Who holds it, as a message says it."""
    try:
        data = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"process {int(data['pid'])} works on it since {data['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process works on it"
