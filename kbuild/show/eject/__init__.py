"""Plan → a Python file that builds the identical model with nothing but Keras; with a training, trains it too.

Nothing of a spec becomes code: names and strings are quoted, classes and arguments are those of the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kbuild.plan.plan import Plan
from kbuild.show.eject import training as train
from kbuild.show.eject import write
from kbuild.show.eject.fold import fold
from kbuild.show.eject.training import Training

_SUMMARY = """\
if __name__ == "__main__":
    build_model().summary()
"""

_MAIN = """\
if __name__ == "__main__":
    main()
"""


def eject(plan: Plan, training: Training | None = None) -> str:
    """The source of a module with `build_model()`; with a training, `main()` trains the model.

    Raises:
        InputError: the training reads data that ejected code does not load.
    """
    program = fold(plan)
    parts = [*write.functions(program), write.model(program, plan.name)]
    if training is None:
        imports = ["import keras", "from keras import layers"]
        parts.append(_SUMMARY)
    else:
        imports = train.imports(training)
        parts += [*train.functions(training, plan), _MAIN]
    ours = write.package_imports(_classes(plan, training))
    imports += ["", *ours] if ours else []
    return "\n".join([header(plan, ours), "", *imports, "", "", ""]) + "\n\n".join(parts)


def _classes(plan: Plan, training: Training | None) -> set[str]:
    """The layer classes that the code names, those inside other layers and those that augment too."""
    found = {layer.cls for layer in plan.layers}
    found |= {chosen.class_name for chosen in (training.settings.augment if training else ())}
    pending: list[Any] = [layer.config for layer in plan.layers]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            found |= {value["class_name"]} if isinstance(value.get("class_name"), str) else set()
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return found


def header(plan: Plan, imported: Sequence[str] = ()) -> str:
    """The docstring: the model's name, if it is plain text, its order, and what it needs."""
    name = plan.name if re.fullmatch(r"[\w][\w .+-]{0,60}", plan.name, re.ASCII) else "A model"
    order = f"{plan.order} ({plan.policy})" if plan.policy else plan.order
    needs = ", ".join(["Keras", *dict.fromkeys(line.split()[1].split(".")[0] for line in imported)])
    return f'"""{name}, in the order {order}.\n\nWritten by `kbuild eject`; it needs nothing but {needs}.\n"""'
