"""What each spec must compile to: the conformance cases, and our own in `data/compile`.

`expect` maps each layer's name to its class and its inputs. Names that begin with `~` stand for layers that the spec
does not name: they are matched by class and inputs. `bias` lists the weight layers that keep a bias, `units` the units
of the Dense layers in order, `float32` the layers that are held to float32. The input layer is `input`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec
from kbuild.spec.reader import Mapping, plain, read_file
from kbuild.spec.writer import write_yaml

DATA = Path(__file__).parent / "data"
CASES = [f"{folder}/{path.stem}" for folder in ("conformance", "compile") for path in sorted(DATA.glob(f"{folder}/*"))]


def read(case: str) -> tuple[Plan, dict[str, Any]]:
    _, tree = read_file(DATA / f"{case}.yaml")
    assert isinstance(tree, Mapping)
    spec = tree.get("spec")
    assert spec is not None
    return plan_spec(parse_spec(write_yaml(spec), name=f"{case}.yaml")), plain(tree)


def bind(plan: Plan, expect: dict[str, list[str]]) -> dict[str, str]:
    """The plan's name of every name in `expect`."""
    names = {name: name for name in expect if not name.startswith("~")}
    names.update({layer.name: layer.name for layer in plan.layers if layer.cls == "InputLayer"})
    for name, (cls, *inputs) in expect.items():
        if name.startswith("~"):
            wanted = (cls, tuple(names[source] for source in inputs))
            taken = set(names.values())
            free = [x.name for x in plan.layers if (x.cls, x.inputs) == wanted and x.name not in taken]
            assert len(free) == 1, f"{name} may be any of {free}"
            names[name] = free[0]
    return names


def test_all_eleven_are_there() -> None:
    assert len([case for case in CASES if case.startswith("conformance/")]) == 11


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    plan, wanted = read(case)
    names = bind(plan, wanted["expect"])
    found = {layer.name: (layer.cls, *layer.inputs) for layer in plan.layers if layer.cls != "InputLayer"}
    assert found == {
        names[name]: (cls, *(names[source] for source in inputs)) for name, (cls, *inputs) in wanted["expect"].items()
    }
    biased = {layer.name for layer in plan.layers if layer.config.get("use_bias")}
    assert biased == {names[name] for name in wanted["bias"]}
    if "units" in wanted:
        assert [layer.config["units"] for layer in plan.layers if layer.cls == "Dense"] == wanted["units"]
    held = [layer.name for layer in plan.layers if layer.cls != "InputLayer" and layer.config.get("dtype") == "float32"]
    assert held == wanted.get("float32", [])
