"""TensorFlow Datasets: a real data set, prepared with the package itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import SpecError
from kbuild.train.data import memory
from kbuild.train.fingerprint import Fingerprints
from tests.train.rows import whole

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `tfds` is not installed")

SPEC = """\
input: {shape: [8, 8, 1], dtype: uint8}
layers:
  - Flatten
  - {Dense: 3, name: out}
train:
  data: DATA
  loss: sparse_categorical_crossentropy
  epochs: 1
  validation: 0
"""


class Insects(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """20 training and 6 test pictures, each of its number."""

    __module__ = "insects"  # a builder inside a package looks for files with modules that need not be installed
    VERSION = tfds.core.Version("1.10.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="plain"), tfds.core.BuilderConfig(name="bare")]  # noqa: RUF012

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "kind": tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
            "weight": np.float32,
            "wide": tfds.features.Image(shape=(None, None, 1)),
        }
        keys = ("image", "kind") if self.builder_config.name == "plain" else None
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=keys)

    def _split_generators(self, manager: Any) -> Any:
        return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

    def _generate_examples(self, count: int) -> Any:
        for i in range(count):
            image = np.full((8, 8, 1), i, "uint8")
            wide = np.full((8 + i % 2, 9, 1), i, "uint8")
            yield i, {"image": image, "kind": i % 3, "weight": float(i), "wide": wide}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    for config in ("plain", "bare"):
        Insects(data_dir=folder, config=config).download_and_prepare()
    return folder


@pytest.fixture
def load(loaded: Callable[..., Any], prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))

    def read(data: str, *overrides: str) -> Any:
        return loaded(SPEC.replace("DATA", data), *overrides)

    return read


@pytest.mark.parametrize("resident", [True, False])
def test_a_prepared_data_set(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    hashes = Fingerprints(load("{tfds: insects/plain, sample_weight: weight}"))
    if not resident:
        monkeypatch.setattr(memory, "memory", lambda: 0)
    data = load("{tfds: insects/plain, sample_weight: weight}")
    assert data.train.resident == resident
    Fingerprints(data).check(hashes.to_dict())
    assert [Path(files.path(0)).suffix for files in data.files] == [".tfrecord-00000-of-00001"] * 2
    numbers = whole(data.train.x["input"])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(20))
    assert whole(data.train.y["out"]).tolist() == [number % 3 for number in numbers]
    assert whole(data.train.weight[""]).tolist() == numbers.tolist()
    assert sorted(whole(data.test.x["input"])[:, 7, 7, 0].tolist()) == list(range(6))
    assert data.classes == {"out": ("ant", "bee", "cat")}


def test_rows_stand_as_the_package_reads_them(load: Callable[..., Any], prepared: Path) -> None:
    builder = tfds.builder_from_directory(prepared / "insects" / "plain" / "1.10.0")
    read = tfds.ReadConfig(interleave_cycle_length=1)
    expected = [int(row["kind"]) for row in builder.as_dataset(split="train[25%:75%]", read_config=read)]
    data = load("{tfds: 'insects/plain:1.10.0', train: 'train[25%:75%]'}", "train.validation={tfds: insects/plain}")
    assert data.train.y["out"].tolist() == expected
    assert data.validation.rows == 6


def test_images_of_many_sizes(load: Callable[..., Any]) -> None:
    data = load("{tfds: insects/bare, x: wide, y: kind, size: [8, 8]}")
    numbers = data.train.x["input"][:, 3, 3, 0]
    assert sorted(numbers.tolist()) == list(range(20))


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ("{tfds: insect}", "the data set insect is not prepared in", "tfds.load('insect', data_dir='"),
        ("{tfds: 'insects/plain:1.9.0'}", "the data set insects/plain:1.9.0 is not prepared in", "prepare it once"),
        ("{tfds: insects}", "has several configurations in", "write insects/bare"),
        ("{tfds: ../insects}", "'../insects' is no name of a data set", "for example mnist"),
        ("{tfds: insects/plain, data_dir: none}", "is not prepared in", ""),
        ("{tfds: insects/plain, train: valid}", "has no split 'valid'", ""),
        ("{tfds: insects/plain, x: imag}", "there is no feature 'imag'", "did you mean 'image'?"),
        ("{tfds: insects/plain, x: wide}", "differ in shape, [None, None, 1]", "write `size: [height, width]`"),
        ("{tfds: insects/bare}", "does not say what is learnt from what: write x and y", "its features: "),
    ],
)
def test_what_is_not_there(load: Callable[..., Any], data: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(data)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in problem.hint
    assert problem.span is not None


def copied(prepared: Path, folder: Path) -> Path:
    import shutil

    shutil.copytree(prepared, folder / "own")
    return folder / "own" / "insects" / "plain" / "1.10.0"


def test_damage_is_found(load: Callable[..., Any], prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path)
    (file,) = place.glob("insects-train.tfrecord*")
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    with pytest.raises(SpecError, match="record 0: it is damaged"):
        load("{tfds: insects/plain, data_dir: own}")
    (place / "dataset_info.json").write_text("nonsense")
    with pytest.raises(SpecError, match="cannot read the data set in"):
        load("{tfds: insects/plain, data_dir: own}")


def test_code_of_others_is_not_imported(load: Callable[..., Any], prepared: Path, tmp_path: Path) -> None:
    place = copied(prepared, tmp_path)
    features = json.loads((place / "features.json").read_text())
    features["featuresDict"]["features"]["kind"]["pythonClassName"] = "antigravity.Feature"
    (place / "features.json").write_text(json.dumps(features))
    with pytest.raises(SpecError, match=r"decodes examples with antigravity.Feature, code that is no part of"):
        load("{tfds: insects/plain, data_dir: own}")
    assert "antigravity" not in sys.modules


def test_without_the_package(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SpecError) as caught:
        load("{tfds: insects/plain}")
    assert "needs the extra `tfds`" in caught.value.problems[0].message
    assert caught.value.problems[0].hint == "pip install 'kbuild[tfds]'"
