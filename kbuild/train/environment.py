"""On what a training runs: versions, processor, devices. What differs here may differ in the bits of the weights."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from kbuild import __version__, plugins
from kbuild.train.rundir import RunDir, read_json

#: The file in a run directory.
ENVIRONMENT = "environment.json"


def environment() -> dict[str, Any]:
    """Versions, processor, devices and what of the settings around changes numbers; no host, user or directory."""
    from importlib import metadata

    versions: dict[str, str | None] = {"kbuild": __version__}
    for package in ("tensorflow", "keras", "numpy", "pydantic", "pyyaml", "rich", "typer"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    versions |= {one.package: one.version for one in plugins.registered()}
    devices: list[str] = []
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        for device in tf.config.list_physical_devices():
            details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
            devices.append(f"{device.device_type} {details.get('device_name', '')}".strip())
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "devices": devices,
        "variables": {name: os.environ[name] for name in _NUMERIC if name in os.environ},
        "versions": versions,
    }


def environment_differences(one: Any, other: Any) -> list[str]:
    """What differs between two `environment.json`: versions of packages, the processor, devices.

    >>> environment_differences({"versions": {"keras": "3.1"}, "cpus": 2}, {"versions": {"keras": "3.2"}, "cpus": 2})
    ['keras 3.1 then, 3.2 now']
    """
    said = []
    for name in dict.fromkeys((*one, *other)):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            said += environment_differences(a, b)
        elif a != b:
            said.append(f"{name} {_or_none(a)} then, {_or_none(b)} now")
    return said


def _or_none(value: Any) -> str:
    return "none" if value is None or value == [] else ", ".join(value) if isinstance(value, list) else str(value)


#: Environment variables that change which kernels run, or in how many threads.
_NUMERIC = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
)


def _processor() -> str:
    """The processor's name, as far as the system says it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else platform.processor()


def describe_environment(run: RunDir) -> str:
    """Write `environment.json` of a new run; of one that goes on, return a note on what is not as it was."""
    now, path = environment(), run.path / ENVIRONMENT
    if not path.exists():
        run.write(ENVIRONMENT, now)
        return ""
    differs = environment_differences(read_json(path), now)
    return f"not as when the run began, so the bits may differ: {'; '.join(differs)}" if differs else ""
