"""Workers on a Ray cluster (the extra `cluster`): the trials of a study on other machines.

The driver is the process of `kbuild study`. It sends every node the design, the spec and, through Ray's object store,
the examples, so that nodes need kbuild and nothing else of the driver's files; examples that are read from files in the
course of the training are read on the nodes, under the same path. Finished trials are written by the driver.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, WorkError
from kbuild.files import write_json, write_text
from kbuild.study.design import NotMeasured
from kbuild.study.examples import Shelf
from kbuild.study.executors import Ended, Event, Message, Pending, Worker, Workers
from kbuild.study.folder import Folder
from kbuild.study.record import Task, write_record
from kbuild.study.worker import Runner

#: Workers that die before they are ready, one after the other, with which a study gives up.
_GIVE_UP = 5
#: Where what Ray prints goes, in the study's directory.
LOG = "cluster.log"


@dataclass
class Cluster(Workers):
    """Workers on a Ray cluster: the one that RAY_ADDRESS names or this machine has joined, else a new one on it.

    A node that dies takes its worker and its trial with it; both begin again where there is room.

    Attributes:
        folder: the study's directory.
        workers: how many; None for as many as the cluster has cores for.
        threads: cores of each.
        address: as `ray.init` takes it, instead of RAY_ADDRESS.
    """

    folder: Path
    workers: int | None = None
    threads: int = 1
    address: str | None = None
    _calls: dict[Any, Worker] = field(default_factory=dict)
    _versions: dict[str, Any] = field(default_factory=dict)
    _died: int = 0

    def events(self, pending: Pending) -> Iterator[Event]:
        """See `Executor.events`."""
        import ray

        with (self.folder / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log), _connected(self.address):
            self._host = ray.remote(num_cpus=self.threads, max_restarts=0, max_task_retries=0)(Host)
            self._study = ray.put(_files(Folder(self.folder)))
            self._data = _examples(Folder(self.folder))
            for event in super().events(pending):
                if isinstance(event, Ended) and event.record.settled:
                    write_record(self.folder, event.record)
                yield event

    def count(self, tasks: int) -> int:
        import ray

        room = int(ray.cluster_resources().get("CPU", 0)) // self.threads
        return min(self.workers or max(room, 1), tasks)

    def start(self) -> Worker:
        return _Actor(self._host.remote(self._study, self._data, self.threads), self._calls)

    def hear(self, seconds: float) -> tuple[Worker, Message] | None:
        import ray

        done, _ = ray.wait(list(self._calls), timeout=seconds)
        if not done:
            return None
        worker = self._calls.pop(done[0])
        assert isinstance(worker, _Actor)
        try:
            message = ray.get(done[0])
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            worker.died_of = error
            return worker, None
        except ray.exceptions.RayTaskError as error:
            raise WorkError(f"a worker cannot start: {error.cause}") from error
        self._check(message)
        return worker, message

    def _check(self, message: dict[str, Any]) -> None:
        """Nodes with other versions would give other numbers."""
        if "ready" not in message:
            return
        self._died = 0
        versions = {"python": message["environment"]["python"], **message["environment"]["versions"]}
        known = self._versions = self._versions or versions
        differ = [f"{name} {known[name]} and {version}" for name, version in versions.items() if version != known[name]]
        if differ:
            raise WorkError(f"the nodes of the cluster differ, and so would their numbers: {', '.join(differ)}")

    def lost(self, worker: Worker, why: str) -> None:
        """A node may die before its worker has started; where that happens again and again something is wrong."""
        self._died += not worker.ready
        if self._died >= _GIVE_UP:
            raise WorkError(f"a worker cannot start: {why}")


class Host:
    """The actor of a worker: a `Runner` with its own copy of the study."""

    def __init__(self, files: dict[str, Any], data: dict[str, Any], threads: int):
        self.place = tempfile.TemporaryDirectory(prefix="kbuild-study-")
        self.files, self.data, self.threads = files, data, threads

    def start(self) -> dict[str, Any]:
        """Load TensorFlow; the first thing to be called."""
        import ray

        from kbuild.train.environment import environment

        folder = Path(self.place.name)
        for name, content in self.files.items():
            (write_text if isinstance(content, str) else write_json)(folder / name, content)
        shelf = Shelf({asked: ray.get(stored) for asked, stored in self.data.items()})
        self.runner = Runner(folder, self.threads, shelf)
        return {"ready": True, "environment": environment()}

    def run(self, task: Task) -> dict[str, Any]:
        """Run a trial."""
        try:
            return {"record": self.runner.run(task).to_dict()}
        except NotMeasured as error:
            return {"not_measured": str(error)}


class _Actor(Worker):
    """The driver's side of a `Host`."""

    def __init__(self, actor: Any, calls: dict[Any, Worker]):
        super().__init__()
        self.actor, self._calls = actor, calls
        self.died_of: Exception | None = None
        self._calls[actor.start.remote()] = self

    def send(self, task: Task) -> None:
        self._calls[self.actor.run.remote(task)] = self

    def end(self) -> tuple[str, str]:
        import ray

        if isinstance(self.died_of, ray.exceptions.OutOfMemoryError):
            return "memory", "the node had no memory left, and Ray ended the worker"
        return "died", f"the worker or its node died: {_first_line(self.died_of)}"

    def stop(self) -> None:
        import ray

        with suppress(Exception):  # it may have died meanwhile
            ray.kill(self.actor)
        for call in [call for call, worker in self._calls.items() if worker is self]:
            del self._calls[call]


def require_ray() -> None:
    """Say before a study begins what its executor needs.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--executor ray needs the extra `cluster`, and {error.name} is missing: pip install 'kbuild[cluster]'"
        ) from None


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Joined to a cluster; where this process has joined one before, it stays joined."""
    import ray

    if ray.is_initialized():
        yield
        return
    _reach(address or os.environ.get("RAY_ADDRESS", ""))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray cluster can be joined or begun: {_first_line(error)}") from error
    try:
        for number, handler in handlers.items() if main else ():
            signal.signal(number, handler)  # Ray puts its own in their place
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Whether anything listens there; Ray waits for minutes, or for ever."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:  # "auto", "local", another protocol
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"no Ray cluster at {address}: {error.strerror or error}; RAY_ADDRESS names one") from error


def _files(folder: Folder) -> dict[str, Any]:
    """File name → what a worker's copy of the study holds: its text, or JSON data."""
    files: dict[str, Any] = {name: (folder.path / name).read_text("utf-8") for name in ("study.yaml", "resolved.yaml")}
    command = folder.command()
    data = (folder.path / str(command.get("data_folder", "."))).resolve()
    return {**files, "command.json": {**command, "data_folder": str(data)}}


def _examples(folder: Folder) -> dict[str, Any]:
    """What arms ask for → their examples in Ray's object store; those that are streamed from files are left out."""
    import ray

    from kbuild.plan.losses import resolve_losses

    design, shelf = folder.design(), Shelf()
    for arm in design.distinct:
        spec, plan = folder.compiled(design, arm)
        settings = design.settings(spec)
        shelf.take(settings, plan, resolve_losses(settings, plan), spec.folder)
    resident = {k: data for k, data in shelf.known.items() if all(split.resident for split in data.splits.values())}
    return {asked: ray.put(data) for asked, data in resident.items()}


def _first_line(error: Exception | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
