"""Learning curves as a picture, where matplotlib is installed (the extra `report`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from kbuild.files import write_text


def draw_curves(history: Sequence[dict[str, float]], path: Path, title: str, best_epoch: int | None = None) -> bool:
    """Write an SVG with one panel per metric, training and validation in each.

    Returns:
        False where matplotlib is missing or there is nothing to draw.
    """
    if not history:
        return False
    try:
        import matplotlib
    except ImportError:
        return False
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [name for name in history[0] if not name.startswith("val_") and name != "learning_rate"]
    epochs = range(1, len(history) + 1)
    with matplotlib.rc_context({"svg.hashsalt": "kbuild", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=False):
            for key, label, color in ((name, "training", "#4878a8"), (f"val_{name}", "validation", "#d1603d")):
                values = [row.get(key, float("nan")) for row in history]
                if any(value == value for value in values):
                    axis.plot(epochs, values, label=label, color=color, marker="." if len(history) < 30 else None)
            if best_epoch is not None:
                axis.axvline(best_epoch, color="#888888", linewidth=0.8, linestyle=":", label="best epoch")
            axis.set_xlabel("epoch")
            axis.set_title(name)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False)
        figure.suptitle(title)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_text(path, text.getvalue())
    return True
