"""A model file → the config that Keras wrote into it. Nothing is extracted to disk, sizes are bounded."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from kbuild.errors import InputError

#: What a model file's name ends in.
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")

#: Bounds on what is read, by the name the error shows. NASNetLarge's config has 1 MB.
LIMITS = {"model-config": 64_000_000}


def read_config(path: str | Path) -> dict[str, Any]:
    """The serialized model of a `.keras`, `.h5` or `.json` file: class_name, config and what stands beside them.

    Raises:
        InputError: the file cannot be read, holds no model's config, or holds one that was not made by Keras 3.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory; a model is a .keras, .h5 or .json file")
    readers = {".keras": _from_zip, ".h5": _from_hdf5, ".hdf5": _from_hdf5, ".json": _from_json}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path} is no model file; its name ends in {', '.join(MODEL_SUFFIXES)}")
    try:
        text = read(path)
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the model's config is not JSON: {error}") from None
    return _checked(data, path)


def _checked(data: Any, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("class_name"), str):
        raise InputError(f"{path} holds no model's config: it has no class_name (`model.to_json()` writes one)")
    version = data.get("keras_version")
    if isinstance(version, str) and version.split(".")[0] in ("1", "2"):
        hint = "load it with Keras 3 and save it again as .keras"
        raise InputError(f"{path} was saved by Keras {version}, whose format kbuild does not read; {hint}")
    return data


def _too_large(path: Path) -> InputError:
    name = "model-config"
    return InputError(f"{path}: the model's config is larger than the limit {name} ({LIMITS[name]:,} bytes)")


def _bounded(stream: Any, path: Path) -> bytes:
    """At most the limit is ever decompressed, whatever the archive's directory says."""
    raw: bytes = stream.read(LIMITS["model-config"] + 1)
    if len(raw) > LIMITS["model-config"]:
        raise _too_large(path)
    return raw


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the model's config is not UTF-8: {error.reason}") from None


def _from_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" not in names:
                hint = "a .keras file of Keras 3 has one"
                raise InputError(f"{path} is a zip archive without config.json, no saved model; {hint}")
            with archive.open("config.json") as stream:
                return _decoded(_bounded(stream, path), path)
    except zipfile.BadZipFile:
        with path.open("rb") as stream:
            hdf5 = stream.read(4) == b"\x89HDF"
        hint = "; it is an HDF5 file: rename it to .h5" if hdf5 else ""
        raise InputError(f"{path} is no .keras file: a .keras file is a zip archive{hint}") from None
    except (NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: config.json cannot be read from the archive: {error}") from None
    except Exception as error:  # zlib.error, whose module a Python without zlib does not have
        if isinstance(error, (InputError, OSError)):
            raise
        raise InputError(f"{path}: config.json is damaged: {error}") from None


def _from_hdf5(path: Path) -> str:
    import h5py  # type: ignore[import-untyped]

    path.open("rb").close()  # a missing or unreadable file says so, in words of the system
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} is no HDF5 file")
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        version = file.attrs.get("keras_version", "")
    if config is None:
        hint = "it holds weights alone; save the whole model with model.save()"
        raise InputError(f"{path} has no attribute model_config: {hint}")
    text = config if isinstance(config, str) else _decoded(bytes(config), path)
    if len(text) > LIMITS["model-config"]:
        raise _too_large(path)
    version = version if isinstance(version, str) else bytes(version).decode("ascii", "replace")
    if version.split(".")[0] in ("1", "2"):
        hint = "load it with Keras 3 and save it again as .keras"
        raise InputError(f"{path} was saved by Keras {version}, whose format kbuild does not read; {hint}")
    return text


def _from_json(path: Path) -> str:
    with path.open("rb") as stream:
        return _decoded(_bounded(stream, path), path)
