"""Files that ship with kbuild: the starter specs, and in a checkout the pages of the manual.

In the wheel they lie inside the package; in a checkout at the top, as `specs/`. Git holds one copy.
"""

from __future__ import annotations

from pathlib import Path

from kbuild.errors import InputError, suggest

_PACKAGE = Path(__file__).parent


def specs_dir() -> Path:
    """The directory of the shipped specs: in the package where it is installed, at the top of a checkout."""
    inside = _PACKAGE / "specs"
    return inside if inside.is_dir() else _PACKAGE.parent / "specs"


def spec_names() -> tuple[str, ...]:
    """Names of the shipped specs, without `.yaml`, sorted.

    >>> "digits" in spec_names()
    True
    """
    return tuple(sorted(path.stem for path in specs_dir().glob("*.yaml")))


def spec_path(name: str) -> Path:
    """The file of a shipped spec, by its name with or without `.yaml`.

    >>> spec_path("digits").name
    'digits.yaml'

    Raises:
        InputError: no spec of that name ships with kbuild.
    """
    stem = name.removesuffix(".yaml")
    if stem not in spec_names():
        hint = suggest(stem, spec_names()) or f"there are: {', '.join(spec_names())}"
        raise InputError(f"no spec named '{name}' ships with kbuild; {hint}")
    return specs_dir() / f"{stem}.yaml"


def page(*place: str) -> Path | None:
    """A page of the manual by its place under docs/, without `.md`; None where the manual is not at hand.

    >>> page("errors", "no-such-code") is None
    True
    """
    found = _PACKAGE.parent.joinpath("docs", *place).with_suffix(".md")
    return found if found.is_file() else None
