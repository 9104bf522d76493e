"""Plan → a Python file that builds the identical model with nothing but Keras.

Nothing of a spec becomes code: names and strings are quoted, classes and arguments are those of the catalog.
"""

from __future__ import annotations

import re

from kbuild.plan.plan import Plan
from kbuild.show.eject import write
from kbuild.show.eject.fold import fold

_MAIN = """\
if __name__ == "__main__":
    build_model().summary()
"""


def eject(plan: Plan) -> str:
    """The source of a module with `build_model()`."""
    program = fold(plan)
    parts = [*write.functions(program), write.model(program, plan.name), _MAIN]
    return f"{header(plan)}\n\nimport keras\nfrom keras import layers\n\n\n" + "\n\n".join(parts)


def header(plan: Plan) -> str:
    """The docstring: the model's name, if it is plain text, and its order."""
    name = plan.name if re.fullmatch(r"[\w][\w .+-]{0,60}", plan.name, re.ASCII) else "A model"
    order = f"{plan.order} ({plan.policy})" if plan.policy else plan.order
    return f'"""{name}, in the order {order}.\n\nWritten by `kbuild eject`; it needs nothing but Keras.\n"""'
