"""Results → files for people and machines: `results.json`, `report.html`, `report.md`, `figures/`.

Everything is made from what is on disk (`study.yaml`, `resolved.yaml`, `trials/`), so it can be made again.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from kbuild import __version__
from kbuild.errors import InputError, KbuildError, SpecError, listing
from kbuild.files import finite, write_json, write_text
from kbuild.lint.check import lint
from kbuild.plan.plan import Plan
from kbuild.show.policies import EXAMPLE, draw
from kbuild.study.analyse import Analysis, Comparison, analyse, require_scipy
from kbuild.study.design import Arm, Design
from kbuild.study.figures import INK, draw_figures
from kbuild.study.folder import LATER, Folder
from kbuild.study.inference import EXACT_PAIRS
from kbuild.study.progress import duration
from kbuild.study.record import Record, read_records, write_table
from kbuild.study.shift import SAYS, shift_rows, shifts
from kbuild.study.words import number, p_text

#: A model of more layers than this is drawn as the small example network under its ordering.
_MOST_LAYERS = 40
#: Lines of the spec that the page holds.
_MOST_LINES = 400
#: Columns of the table that set a policy against the baseline; the page shows the others in a table of their own.
_AGAINST = 8
#: What figures are called in the report.
_CAPTIONS = {
    "differences": "Mean paired difference to the baseline. Filled: called after Holm's correction; hollow: not.",
    "curves": "Learning curves on validation data: mean over seeds, the band one standard deviation to both sides.",
    "values": "Every trial; a thin line joins the trials of one seed, a bar marks the mean.",
}


@dataclass(frozen=True)
class ArmPage:
    """What the report says of one arm beside its figures: a drawing of its layers, what the lint finds."""

    arm: Arm
    drawing: str
    drawn: str
    findings: tuple[tuple[str, str, str], ...]


def make_report(folder: Folder) -> Analysis:
    """Analyse what is on disk and write every file that follows from it.

    Raises:
        InputError: no study, no finished trial, or the extra `report` is not installed.
    """
    require_scipy()
    design = folder.design()
    records = read_records(folder.path, design)
    if not any(record.finished for record in records.values()):
        reasons = dict.fromkeys(record.reason for record in records.values())
        raise InputError(f"{folder.path} has no finished trial{': ' + listing(reasons, 3) if reasons else ''}")
    result = analyse(design, records)
    write_table(folder.path, design, records)
    pages = [_page(folder, design, arm) for arm in design.distinct]
    figures = draw_figures(result, records, folder.path / "figures")
    write_json(folder.path / "results.json", _data(folder, result, records, pages))
    write_text(folder.path / "report.md", markdown(folder, result, records, pages))
    write_text(folder.path / "report.html", _html(folder, result, records, pages, figures))
    return result


def _data(folder: Folder, result: Analysis, records: dict[str, Record], pages: list[ArmPage]) -> dict[str, Any]:
    """`results.json`: no times, no paths, the same bytes for the same trials."""
    data = {"kbuild": __version__, "versions": _versions(folder), **result.to_dict()}
    data["lint"] = {
        page.arm.label: [dict(zip(("rule", "level", "message"), one, strict=True)) for one in page.findings]
        for page in pages
    }
    data["shift"] = {label: asdict(one) for label, one in shifts(result.design, records.values()).items()}
    return dict(finite(data))


def _versions(folder: Folder) -> dict[str, str]:
    said = folder.environment()
    try:
        found = {"python": said["python"], **said["versions"]}
        return {name: version for name, version in found.items() if version}
    except (KeyError, TypeError):
        return {}


def _page(folder: Folder, design: Design, arm: Arm) -> ArmPage:
    try:
        spec, plan = folder.compiled(design, arm)
    except (KbuildError, OSError) as error:
        return ArmPage(arm, f"cannot be drawn: {error}", "", ())
    settings = design.settings(spec)
    findings = lint(plan, settings, folder=spec.folder)
    told = tuple((one.rule, one.level, one.message) for one in findings)
    return ArmPage(arm, *_drawing(plan, arm), told)


def _drawing(plan: Plan, arm: Arm) -> tuple[str, str]:
    if len(plan.layers) <= _MOST_LAYERS:
        return "\n".join(draw(plan)), "the model of this study"
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    try:
        small = plan_spec(parse_spec(EXAMPLE % (arm.ordering or plan.order)))
    except SpecError:
        return "\n".join(draw(plan)[:_MOST_LAYERS]) + "\n...", f"the first {_MOST_LAYERS} of {len(plan.layers)} layers"
    return "\n".join(draw(small)), f"a small example; the model of this study has {len(plan.layers)} layers"


def table_rows(result: Analysis) -> tuple[list[str], list[list[str]]]:
    """The table of the report: one row per arm, figures of the deciding metric and of the test data."""
    design = result.design
    tests = [name for name in result.metrics if name.startswith("test_")]
    same = f"test_{design.metric.removeprefix('val_')}"
    tests = [same] if same in tests else tests[:1]
    others = [name for name in ("val_accuracy", "val_loss") if name in result.metrics and name != design.metric]
    head = ["policy", design.metric, "difference", "interval", "p (Holm)", "P(better)", "verdict", "may be best"]
    head += ["epochs to target", *others, *tests, "trials"]
    rows = []
    for arm in result.arms:
        found = arm.against.get(design.metric)
        told = ["baseline", "", "", "", ""]
        if found is not None:
            told = [*_differs(found, corrected=True), found.verdict]
        counts = ", ".join(f"{count} {state}" for state, count in arm.counts.items())
        best = {None: "-", True: "yes", False: "no"}[arm.may_be_best]
        rows.append([arm.label, _spread(arm, design.metric), *told, best, _epochs(arm)])
        rows[-1] += [*(_spread(arm, name) for name in (*others, *tests)), counts]
    return head, rows


def other_rows(result: Analysis) -> tuple[list[str], list[list[str]]]:
    """A table of the metrics that decide nothing: one row per metric and arm."""
    head = ["metric", "policy", "mean", "difference", "interval", "p (uncorrected)", "P(better)"]
    rows = []
    for metric in result.metrics:
        for arm in result.arms if metric != result.design.metric else ():
            told = (
                ["baseline", "", "", ""] if arm.label == result.design.baseline else _differs(arm.against.get(metric))
            )
            rows.append([metric, arm.label, _spread(arm, metric), *told])
    return head, rows


def _differs(found: Comparison | None, corrected: bool = False) -> list[str]:
    """Cells of a comparison: difference, interval, p, P(better)."""
    if found is None:
        return ["-"] * 4
    interval = "-" if found.low is None else f"{number(found.low, True)} to {number(found.high, True)}"
    share = "-" if found.better_share is None else f"{found.better_share:.2f}"
    return [number(found.difference, True), interval, p_text(found.p_holm if corrected else found.p), share]


def _spread(arm: Any, metric: str) -> str:
    if not arm.counts.get("finished"):  # what a diverged trial counts as was not measured
        return "-"
    spread = arm.spread.get(metric)
    return number(arm.mean.get(metric)) + (f" ± {number(spread)}" if spread is not None else "")


def _epochs(arm: Any) -> str:
    if arm.epochs is None or not arm.epochs.trials:
        return "-"
    median = "not reached by half" if arm.epochs.median is None else f"{arm.epochs.median:g}"
    return f"{median} ({arm.epochs.reached}/{arm.epochs.trials})"


def facts(folder: Folder, result: Analysis, records: dict[str, Record]) -> list[tuple[str, str]]:
    """What was asked and how it was run, as (name, value)."""
    design = result.design
    seconds = sum(record.seconds for record in records.values())
    seeds = ", ".join(map(str, design.seeds)) if len(design.seeds) <= 20 else f"{design.seeds[0]} to {design.seeds[-1]}"
    way = "more is better" if design.direction == "max" else "less is better"
    points = "points of policies and grid" if any(arm.overrides for arm in design.arms) else "policies"
    what = f"{len(design.distinct)} {points}"
    said = [
        (
            "compared",
            f"{what} × {len(design.seeds)} seed{'s' * (len(design.seeds) != 1)} = {len(design.trials)} trials",
        ),
        ("baseline, named before the runs", design.baseline),
        ("decided by", f"{design.metric} after the last epoch ({way}), at a rate of false alarms of {design.alpha:g}"),
        ("seeds", f"{seeds}; the same seed means the same split, data order and initial weights for every policy"),
        ("epochs to target", "" if result.target is None else f"{design.metric} of {number(result.target)}"),
        ("data", ", ".join(f"{rows} {split}" for split, rows in folder.rows().items())),
        (_training_of(design), f"{_training(folder, design)}; {duration(seconds)} of computing in all"),
        ("versions", ", ".join(f"{name} {version}" for name, version in _versions(folder).items())),
        ("not the same for all trials", "; ".join(folder.environment().get(LATER, ()))),
    ]
    return [(name, value) for name, value in said if value]


def _training_of(design: Design) -> str:
    varied = any(text.startswith("train.") for arm in design.arms for text in arm.overrides)
    return "training of the baseline" if varied else "training"


def _training(folder: Folder, design: Design) -> str:
    try:
        settings = design.settings(folder.compiled(design, design.arm(design.baseline))[0])
    except (KbuildError, OSError):
        return "as the spec says"
    epochs, batch = settings.epochs, settings.batch_size
    return f"{epochs} epoch{'s' * (epochs != 1)}, batches of {batch}, {settings.optimizer.class_name}"


def reproduce(folder: Folder, design: Design) -> list[str]:
    """The commands that give these results again, from the study's own copy of the spec."""
    words = ["kbuild study spec.yaml"]
    command = folder.command()
    asked = command.get("options")
    if isinstance(asked, list):
        words += [_quoted(str(word)) for word in asked]
    where = command.get("data_folder", ".")
    note = f"    # with spec.yaml copied to {where}, where its paths begin" if where != "." else ""
    return [" ".join(words) + note, "kbuild report DIRECTORY    # this page again, from the trials in it"]


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def markdown(folder: Folder, result: Analysis, records: dict[str, Record], pages: list[ArmPage]) -> str:
    """The report as Markdown."""
    design = result.design
    head, rows = table_rows(result)

    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    lines = [f"# {design.name}", "", f"**{result.verdict}**", ""]
    lines += [f"* {text}" for text in result.sentences] + [""]
    lines += [row(head), row(["---"] * len(head)), *map(row, rows), ""]
    lines += [f"* {name}: {value}" for name, value in facts(folder, result, records)]
    lines += [f"* note: {note}" for note in design.notes]
    failures = [record for record in records.values() if not record.finished]
    lines += [f"* failed: {one.arm}, seed {one.seed}: {one.state}, {one.reason}" for one in failures]
    if shifted := shifts(design, records.values()):
        head, rows = shift_rows(shifted)
        lines += ["", "## Variance shift", "", SAYS, "", row(head), row(["---"] * len(head)), *map(row, rows)]
    head, rows = other_rows(result)
    if rows:
        lines += ["", "## Metrics that decide nothing", "", row(head), row(["---"] * len(head)), *map(row, rows)]
    found = [(page.arm.label, one) for page in pages for one in page.findings if one[1] != "info"]
    lines += ["", "## Lint", "", *(f"* {label}: {one[0]}: {one[2]}" for label, one in found)] if found else []
    lines += ["", "## How to reproduce", "", "```sh", *reproduce(folder, design), "```", ""]
    return "\n".join(lines)


def _html(
    folder: Folder, result: Analysis, records: dict[str, Record], pages: list[ArmPage], figures: dict[str, str]
) -> str:
    import jinja2

    text = resources.files("kbuild.study").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    head, rows = table_rows(result)
    shifted = shifts(result.design, records.values())
    return environment.from_string(text).render(
        result=result,
        design=result.design,
        head=head,
        tables=(range(_AGAINST), (0, *range(_AGAINST, len(head)))),
        rows=rows,
        others=other_rows(result),
        shift=shift_rows(shifted) if shifted else None,
        shift_says=SAYS,
        pages=pages,
        failures=[record for record in records.values() if not record.finished],
        facts=facts(folder, result, records),
        figures=[(name, _CAPTIONS[name], inline(svg, name)) for name, svg in figures.items()],
        commands=reproduce(folder, result.design),
        spec=_spec_lines(folder),
        exact_pairs=EXACT_PAIRS,
    )


def _spec_lines(folder: Folder) -> list[str]:
    """The spec as it was written, for a page that is all that is left of a study."""
    try:
        lines = (folder.path / "spec.yaml").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return lines[:_MOST_LINES] + [f"... {len(lines) - _MOST_LINES} lines more"] * (len(lines) > _MOST_LINES)


def inline(svg: str, name: str) -> str:
    """An SVG for the inside of a page: no XML head, as wide as there is room, ink in the colour of the page's text, and
    identifiers that begin with `name`, for a page holds several."""
    body = svg[svg.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    style = f"max-width:{float(width[1]) * 4 / 3:.0f}px" if width else ""
    body = body.replace("<svg ", f'<svg style="{style}" aria-hidden="true" ', 1)
    body = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
    return body.replace(INK, "currentColor").replace("fill: #ffffff", "fill: var(--paper)")


def results_of(folder: Folder) -> dict[str, Any]:
    """`results.json`, read back."""
    import json

    return dict(json.loads((folder.path / "results.json").read_text(encoding="utf-8")))


def summary(folder: Folder, result: Analysis) -> str:
    """What the terminal shows: the table in short, the verdict, where the report is."""
    head, rows = table_rows(result)
    kept = [at for at, name in enumerate(head) if name not in ("P(better)", "may be best", "epochs to target")]
    table = [[row[at] for at in kept] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(kept))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "", result.verdict, "", f"report  {folder.path / 'report.html'}"])
