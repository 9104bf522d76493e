"""What `kbuild lint` is pointed at → plan, training settings and text: a spec, a run directory, a saved Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kbuild.errors import InputError, Source
from kbuild.plan.pipeline import compile_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import load_spec
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings

#: What the name of a saved model ends in, as `kbuild.importing` reads them.
MODELS = (".keras", ".h5", ".hdf5", ".json")


@dataclass(frozen=True)
class Subject:
    """One thing to lint.

    Attributes:
        path: as the user named it.
        plan: resolved.
        train: its training settings, or None.
        text: the spec's text; None for a model.
        folder: what paths in `train` are relative to.
        included: texts of the files that the spec includes.
        overridden: whether `--ordering` or `--set` changed what the text says.
    """

    path: Path
    plan: Plan
    train: TrainSettings | None = None
    text: Source | None = None
    folder: Path | None = None
    included: tuple[Source, ...] = ()
    overridden: bool = False


def read_subject(path: Path, ordering: str | None = None, overrides: Sequence[str] = ()) -> Subject:
    """Read a spec, a run directory or a saved model. No TensorFlow.

    Raises:
        InputError: it cannot be read; a SpecError with every problem where it is a spec.
    """
    run = path.is_dir() and (path / "plan.json").is_file()
    model = path.suffix.lower() in MODELS
    if (run or model) and (ordering is not None or overrides):
        what = f"a finished run; --ordering and --set apply to specs ({path}/spec.yaml)" if run else "a saved model"
        raise InputError(f"{path} is {what}" + ("" if run else "; --ordering and --set apply to specs"))
    if run:
        return _run(path)
    if model:
        return _model(path)
    spec, plan = compile_spec(path, ordering, overrides)
    changed = ordering is not None or bool(overrides)
    return Subject(path, plan, spec.train, spec.source, spec.folder, _included(spec), changed)


def _model(path: Path) -> Subject:
    from kbuild.importing import plan_of_model, read_config
    from kbuild.lint.compiled import compiled_settings

    plan = plan_of_model(path)
    return Subject(path, plan, compiled_settings(read_config(path), plan))


def _included(spec: Spec) -> tuple[Source, ...]:
    sources = {block.span.source.name: block.span.source for block in spec.blocks.values()}
    return tuple(source for name, source in sources.items() if name != spec.source.name)


def _run(path: Path) -> Subject:
    try:
        plan = Plan.from_json((path / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / 'plan.json'} is damaged: {error}") from error
    trained, written = _spec(path / "resolved.yaml"), _spec(path / "spec.yaml")
    settings = trained or written
    text = written.source if written is not None else None
    return Subject(path, plan, settings.train if settings else None, text)


def _spec(path: Path) -> Spec | None:
    """The spec in a run; None where it cannot be read, for the plan says all that most rules need."""
    try:
        return load_spec(path)
    except InputError:
        return None
