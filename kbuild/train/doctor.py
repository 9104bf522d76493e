"""What is installed, which devices there are, and whether a model can be built and trained here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from kbuild import __version__
from kbuild.errors import KbuildError
from kbuild.train.installed import Installed, installed

#: Packages that kbuild needs.
REQUIRED = ("tensorflow", "keras", "numpy", "PyYAML", "typer", "rich", "simpleeval")

#: Extra → the packages it installs, as in pyproject.toml.
EXTRAS = {
    "report": ("jinja2", "matplotlib", "scipy"),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "litert": ("ai-edge-litert",),
    "table": ("pyarrow",),
    "tfds": ("tensorflow-datasets",),
    "cluster": ("ray",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny",),
}


@dataclass(frozen=True)
class Report:
    """Versions by package (None where missing), the same per extra, devices, what packages add, and what failed."""

    versions: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    devices: tuple[str, ...]
    failures: tuple[str, ...]
    plugins: tuple[Installed, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "versions": self.versions,
            "extras": self.extras,
            "devices": list(self.devices),
            "plugins": [asdict(one) for one in self.plugins],
            "failures": list(self.failures),
        }

    def text(self) -> str:
        """For people, one fact a line."""
        lines = [f"{name:<12} {version or 'MISSING'}" for name, version in self.versions.items()]
        lines.append(f"{'devices':<12} {', '.join(self.devices) or 'none'}")
        lines.append(f"{'cores':<12} {os.cpu_count()}")
        lines += ["extras", *(f"  {name:<12} {_extra(name, packages)}" for name, packages in self.extras.items())]
        lines += ["plugins", *(f"  {one.text()}" for one in self.plugins)] if self.plugins else []
        lines.append("")
        lines += [f"FAILED: {failure}" for failure in self.failures] or ["everything kbuild needs works"]
        return "\n".join(lines) + "\n"


def _extra(name: str, packages: dict[str, str | None]) -> str:
    missing = [package for package, version in packages.items() if version is None]
    if not missing:
        return ", ".join(f"{package} {version}" for package, version in packages.items())
    what = "" if len(missing) == len(packages) else f"{', '.join(missing)} "
    return f"{what}not installed: pip install 'kbuild[{name}]'"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine() -> Report:
    """Look at this installation; builds, trains and saves nothing bigger than one Dense layer."""
    versions: dict[str, str | None] = {"kbuild": __version__, "python": platform.python_version()}
    versions |= {name: _version(name) for name in REQUIRED}
    extras = {extra: {name: _version(name) for name in packages} for extra, packages in EXTRAS.items()}
    failures = [f"{name} is not installed" for name in REQUIRED if versions[name] is None]
    if not (3, 10) <= sys.version_info < (3, 14):
        failures.append(f"Python {versions['python']}: kbuild needs 3.10 to 3.13")
    devices: tuple[str, ...] = ()
    try:
        devices = _devices()
        _try_step()
    except KbuildError as error:
        failures.append(str(error))
    except Exception as error:
        failures.append(f"one training step failed: {type(error).__name__}: {error}")
    return Report(versions, extras, devices, tuple(failures), installed())


def _devices() -> tuple[str, ...]:
    from kbuild.model.backend import import_keras

    import_keras()
    import tensorflow as tf

    return tuple(device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices())


def _try_step() -> None:
    from kbuild.model.backend import import_keras
    from kbuild.model.lower import build_model
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    keras = import_keras()
    model = build_model(
        plan_spec(parse_spec("input: {shape: [2]}\nlayers: [{Dense: {units: 2, activation: relu}}, {Dense: 1}]"))
    )
    model.compile(optimizer="adam", loss="mse")
    model.train_on_batch(keras.ops.ones((2, 2)), keras.ops.ones((2, 1)))
