"""`kbuild export`: every artifact written whole, loaded by its own runtime in a clean process, compared, reported."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, ParityError, suggest
from kbuild.export.classes import class_problems
from kbuild.export.formats import FORMATS, QUANTIZATIONS, Format, Request, check_installed, check_layers
from kbuild.export.parity import (
    TOLERANCES,
    CheckProcess,
    Sample,
    compare,
    make_sample,
    predict_elsewhere,
    predict_here,
    signature_problems,
)
from kbuild.export.saved_model import output_names
from kbuild.export.source import Subject, open_source
from kbuild.files import naming_failures, write_json
from kbuild.model.custom import imports


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: where the artifacts are.
        artifacts: file name → figures, as in `parity.json`.
        folded: {"into": normalization → weight layer, "kept": normalization → why, "dropped": [...]}, or None.
        origin: where the rows come from that predictions were compared on.
    """

    folder: Path
    artifacts: dict[str, dict[str, Any]]
    folded: dict[str, Any] | None
    origin: str

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "folder": str(self.folder),
            "compared_on": self.origin,
            "artifacts": self.artifacts,
            "folded": self.folded,
        }


def read_formats(text: str) -> list[Format]:
    """`savedmodel,onnx` → rows of the table.

    Raises:
        InputError: a name that is none, with the nearest.
    """
    found = []
    for name in dict.fromkeys(part.strip() for part in text.split(",") if part.strip()):
        if name not in FORMATS:
            hint = suggest(name, FORMATS) or f"there are {', '.join(FORMATS)}"
            raise InputError(f"--to: there is no format {name!r}; {hint}")
        found.append(FORMATS[name])
    if not found:
        raise InputError(f"--to names no format; there are {', '.join(FORMATS)}")
    return found


def export(
    source: str | Path,
    to: str = "savedmodel",
    fold: bool = False,
    quantize: str | None = None,
    output: str | Path | None = None,
    data: str | Path | None = None,
) -> Exported:
    """Write the model of a run, or a saved model, and prove every artifact.

    Args:
        source: a run directory, or a `.keras` or `.h5` file.
        to: formats, separated by commas.
        fold: write each a second time, folded.
        quantize: a key of QUANTIZATIONS, for LiteRT.
        output: the directory; a run's own `export/`, or `NAME_export` beside a file.
        data: rows to compare predictions on, instead of the run's held-out data.

    Raises:
        InputError: an unknown format, a missing extra, a source that is none.
        ParityError: an artifact predicts something else; `parity.json` says how much.
    """
    formats = read_formats(to)
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise InputError(f"--quantize takes {', '.join(QUANTIZATIONS)}, not {quantize!r}")
    if quantize is not None and FORMATS["litert"] not in formats:
        raise InputError("--quantize is for LiteRT models: add litert to --to")
    check_installed(formats)
    subject = open_source(Path(source), Path(data) if data else None, plan=fold)
    check_layers(formats, subject.model)
    folder = Path(output) if output else subject.folder
    with naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    models, folded = _models(subject, fold)
    sample = make_sample(subject.model, subject.inputs)
    expected = predict_here(subject.model, sample)
    artifacts: dict[str, dict[str, Any]] = {}
    for is_folded, model in models:
        for one in formats:
            how = quantize if one.name == "litert" else None
            path = folder / one.file_name(is_folded, how)
            one.write(Request(model, path, how, subject.calibration, subject.classes, is_folded))
            artifacts[path.name] = check(one, path, subject, sample, expected, how)
            _report(folder, sample, subject.origin, artifacts)
    failed = [f"{name}: {problem}" for name, figures in artifacts.items() for problem in figures["problems"]]
    if failed:
        raise ParityError("what was exported does not predict what the model predicts: " + "; ".join(failed))
    return Exported(folder, artifacts, folded, subject.origin)


def _models(subject: Subject, fold: bool) -> tuple[list[tuple[bool, Any]], dict[str, Any] | None]:
    if not fold:
        return [(False, subject.model)], None
    from kbuild.export.fold import fold_model

    assert subject.plan is not None
    made = fold_model(subject.model, subject.plan)
    about = {
        "into": {folding.norm: folding.weight for folding in made.plan.foldings},
        "kept": made.plan.kept,
        "dropped": list(made.plan.dropped),
    }
    return [(False, subject.model), (True, made.model)], about


def check(
    one: Format, path: Path, subject: Subject, sample: Sample, expected: dict[str, Any], quantize: str | None = None
) -> dict[str, Any]:
    """Load an artifact in a clean process and compare what it predicts with `expected`.

    Returns:
        Figures per output, size in bytes, what loaded it, and `problems`, empty where all is well.
    """
    with CheckProcess("check_process.py" if one.name == "savedmodel" else "check_runtime.py") as process:
        job: dict[str, Any] = {"saved_model": str(path.resolve()), "artifact": str(path.resolve()), "runtime": one.name}
        job["classes"] = imports(path) if one.name == "keras" else []
        try:
            described, got = predict_elsewhere(process, job, sample)
        except ParityError as error:
            return {"ok": False, "bytes": _size(path), "outputs": {}, "problems": [str(error)]}
    names = output_names(subject.model)
    figures = compare(expected, got, sample.sizes, names, *TOLERANCES[quantize or subject.precision])
    problems = signature_problems(described, list(sample.inputs), names)
    problems += class_problems(described, got, subject.model, subject.classes)
    problems += [f"{name}: {figure['problem']}" for name, figure in figures.items() if figure["problem"]]
    return {
        "ok": not problems,
        "bytes": _size(path),
        "runtime": described.get("runtime") or f"tensorflow {described['tensorflow']}",
        "quantize": quantize,
        "signature": {"inputs": described["inputs"], "outputs": described["outputs"]},
        **({"classes": described["class_names"]} if described["class_names"] else {}),
        "outputs": figures,
        "problems": problems,
    }


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _report(folder: Path, sample: Sample, origin: str, artifacts: dict[str, dict[str, Any]]) -> None:
    """Add to `parity.json`: the proof that the training wrote stays, with what it says of the SavedModel renewed."""
    path = folder / "parity.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
    every = {**known.get("artifacts", {}), **artifacts}
    report = {**known, "rows": sample.rows, "batch_sizes": sample.sizes, "compared_on": origin, "artifacts": every}
    if "saved_model" in artifacts:
        plain = artifacts["saved_model"]
        report |= {"saved_model": "saved_model", **{key: plain.get(key) for key in ("signature", "outputs")}}
    problems = [f"{name}: {problem}" for name, figures in every.items() for problem in figures["problems"]]
    write_json(path, {**report, "ok": not problems, "problems": problems})
