"""kbuild: one line of YAML decides where normalization, activation and dropout stand.

The same stages as the command line, for notebooks and scripts::

    import kbuild

    spec = kbuild.load_spec("specs/digits.yaml", ordering="W-A-D-N")
    plan = kbuild.plan_spec(spec)         # plain data, no TensorFlow
    model = kbuild.build_model(plan)      # a keras.Model
    result = kbuild.train_spec(spec)      # a run directory with an exported SavedModel
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbuild.errors import InputError, KbuildError, ParityError, SpecError, TrainingError, WorkError

if TYPE_CHECKING:
    from kbuild.plan.plan import Plan
    from kbuild.spec.model import Spec
    from kbuild.train.result import Followed, RunResult

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "KbuildError",
    "ParityError",
    "SpecError",
    "TrainingError",
    "WorkError",
    "__version__",
    "build_model",
    "load_spec",
    "parse_spec",
    "plan_spec",
    "train_spec",
]


def load_spec(path: str | Path, ordering: str | None = None, overrides: Iterable[str] = ()) -> Spec:
    """Read a spec from a file.

    Args:
        path: the YAML file.
        ordering: a policy's name or an order that replaces the spec's own; everything else stays.
        overrides: `a.b=c` texts, as `--set` takes them.

    Raises:
        SpecError: with every problem of the file's structure.
    """
    from kbuild.spec.load import load_spec as load

    return load(path, ordering, overrides)


def parse_spec(text: str, ordering: str | None = None, overrides: Iterable[str] = ()) -> Spec:
    """Read a spec from text; paths in it are relative to the working directory.

    >>> spec = parse_spec("input: {shape: [4]}\\nlayers: [{Dense: {units: 8, activation: relu}}, {Dense: 3}]")
    >>> [layer.name for layer in plan_spec(spec).layers]
    ['input', 'dense1', 'dense1_bn', 'dense1_relu', 'dense1_drop', 'dense2']
    """
    from kbuild.spec.load import parse_spec as parse

    return parse(text, ordering, overrides)


def plan_spec(spec: Spec) -> Plan:
    """Resolve a spec: every layer with its place, reason, shape and parameters. No TensorFlow.

    Raises:
        SpecError: with every problem.
    """
    from kbuild.plan.pipeline import plan_spec as resolve

    return resolve(spec)


def build_model(plan: Plan, seed: int = 0) -> Any:
    """Build the `keras.Model` of a plan; it is checked against the plan.

    Args:
        plan: from `kbuild.plan_spec`.
        seed: layers of the same name start with the same weights under every ordering for the same seed.

    Raises:
        SpecError: Keras refuses a layer.
    """
    from kbuild.model.lower import build_model as lower

    return lower(plan, seed)


def train_spec(spec: Spec, **options: Any) -> RunResult | Followed:
    """Train a spec's model, evaluate it, export it and prove the export.

    Args:
        spec: from `kbuild.load_spec`.
        options: `epochs`, `batch_size`, `seed`, `run_dir`, `name`, `overwrite`, `quiet`, as on the command line.

    Returns:
        Run directory, SavedModel, metrics per split, and more: see `kbuild.train.result.RunResult`. With several
        workers, those that do not write the run give a `Followed` instead.

    Raises:
        SpecError: the spec or its data do not fit.
        TrainingError: a NaN loss, no memory, a full disk.
        ParityError: the exported model predicts something else.
    """
    from kbuild.show.table import render
    from kbuild.train.run import train

    resolved = plan_spec(spec)
    return train(spec, resolved, summary=render(resolved), **options)
