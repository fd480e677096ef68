"""Published data sets become a manifest with features beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from proxyhash.data import manifest_split
from proxyhash.datasets import CONVERTERS, Converter, ConvertOptions, register_converter
from proxyhash.datasets.convert import convert_data_set
from proxyhash.datasets.converter import Source
from proxyhash.errors import DataError, UsageError
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRAIN = "t1\ti1\t2\nt2\ti2\t1\nt3\ti3\t2\n"
TEST = "t4\ti4\t1\n"


def matrices() -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(0)
    shapes = {"I_tr": (3, 5), "I_te": (1, 5), "T_tr": (3, 2), "T_te": (1, 2)}
    return {name: random.random(shape) for name, shape in shapes.items()}


@pytest.fixture
def wikipedia(tmp_path: Path) -> Path:
    """A folder in the form of the published set."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "categories.list").write_text("art\nbiology\n")
    (folder / "trainset_txt_img_cat.list").write_text(TRAIN)
    (folder / "testset_txt_img_cat.list").write_text(TEST)
    savemat(folder / "raw_features.mat", matrices())
    return folder


def test_rows_and_features_go_together(wikipedia: Path, tmp_path: Path) -> None:
    conversion = convert_data_set(wikipedia, tmp_path / "out")
    collection = conversion.collection
    assert collection.ids == ("t1", "t2", "t3", "t4")
    assert [item.labels for item in collection.items] == [
        ("biology",),
        ("art",),
        ("biology",),
        ("art",),
    ]
    assert [item.split for item in collection.items] == ["train"] * 3 + ["query"]
    assert collection.items[1].payload == {"image_id": "i2"}
    for modality, prefix in (("image", "I"), ("text", "T")):
        values = np.load(conversion.features[modality], allow_pickle=False)
        assert values.dtype == np.float32
        expected = np.concatenate([matrices()[f"{prefix}_tr"], matrices()[f"{prefix}_te"]])
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert manifest_split(collection, validation=1, seed=0).query.tolist() == [3]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("trainset_txt_img_cat.list", "t1 i1 2\n", "line 1: text id, image id and category"),
        ("trainset_txt_img_cat.list", TRAIN.replace("\t1\n", "\t3\n"), "line 2: category is '3'"),
        ("trainset_txt_img_cat.list", TRAIN.replace("\t1\n", "\t0\n"), "a number from 1 to 2"),
        ("testset_txt_img_cat.list", TEST * 2, "has 2 lines, but I_te .* has 1 rows"),
        ("categories.list", "\udcff", "categories.list cannot be read"),
        ("raw_features.mat", "nonsense", "cannot be read as a MATLAB file"),
    ],
)
def test_damage_is_named(
    file: str, content: str, says: str, wikipedia: Path, tmp_path: Path
) -> None:
    (wikipedia / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=says):
        convert_data_set(wikipedia, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_matrices_that_are_missing_or_hold_nothing(wikipedia: Path, tmp_path: Path) -> None:
    whole = matrices()
    savemat(wikipedia / "raw_features.mat", whole | {"T_te": np.array([["words"]])})
    with pytest.raises(DataError, match="no numeric matrix 'T_te'"):
        convert_data_set(wikipedia, tmp_path / "out")
    savemat(wikipedia / "raw_features.mat", whole | {"T_te": np.array([[np.nan, 1.0]])})
    with pytest.raises(DataError, match="text features hold NaN"):
        convert_data_set(wikipedia, tmp_path / "out")


def test_features_have_a_row_an_item() -> None:
    with pytest.raises(DataError, match=r"image features have shape \(2, 3\) for 1 items"):
        Source("a set", ({"id": "a"},), {"image": np.zeros((2, 3), dtype=np.float32)})


class TestWhichDataSet:
    def test_unknown_folders_say_what_is_known(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"known are\n  coco: (.*\n)*  wikipedia: raw_features\.mat"
        ):
            convert_data_set(tmp_path, tmp_path / "out")

    def test_nothing_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="nowhere does not exist"):
            convert_data_set(tmp_path / "nowhere", tmp_path / "out")

    def test_a_file_that_nothing_recognizes(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="file is not a known data set"):
            convert_data_set(tmp_path / "file", tmp_path / "out")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (ConvertOptions(captions="first"), "wikipedia has no option 'captions'"),
            (ConvertOptions(version="dcmh"), "wikipedia has only one version"),
        ],
    )
    def test_options_that_a_data_set_lacks(
        self, options: ConvertOptions, says: str, wikipedia: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match=says):
            convert_data_set(wikipedia, tmp_path / "out", options=options)

    def test_kind_is_checked(self, wikipedia: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="did you mean 'wikipedia'"):
            convert_data_set(wikipedia, tmp_path / "out", kind="wiki-pedia")
        assert convert_data_set(wikipedia, tmp_path / "out", kind="wikipedia").source

    def test_converters_recognize_only_their_own(self, wikipedia: Path, tmp_path: Path) -> None:
        recognized = [name for name, each in CONVERTERS.items() if each.recognizes(wikipedia)]
        assert recognized == ["wikipedia"]


@pytest.mark.shared
def test_the_released_files(tmp_path: Path) -> None:
    """Labels by line agree with the label matrices of the other release, row by row."""
    folder = shared_path("data/wikipedia")
    conversion = convert_data_set(folder, tmp_path)
    collection = conversion.collection
    other = loadmat(folder / "wikiData.mat")
    expected = np.concatenate([other["L_tr"], other["L_te"]]).ravel() - 1
    categories = (folder / "categories.list").read_text().split()
    assert [item.labels[0] for item in collection.items] == [categories[each] for each in expected]
    for modality, prefix in (("image", "I"), ("text", "T")):
        rows = np.concatenate([other[f"{prefix}_tr"], other[f"{prefix}_te"]])
        np.testing.assert_allclose(np.load(conversion.features[modality]), rows, rtol=1e-6)
    split = manifest_split(collection, validation=0, seed=0)
    assert (len(split.train), len(split.query)) == (2173, 693)


def test_a_converter_of_another_package_comes_before_the_general_forms(tmp_path: Path) -> None:
    def read(path: Path, options: ConvertOptions) -> Source:
        assert options.version == "short"
        return Source("toy", ({"id": "a", "text": (path / "toy.txt").read_text(), "labels": []},))

    toy = Converter(
        name="toy",
        recognizes=lambda path: (path / "toy.txt").is_file(),
        read=read,
        expects="toy.txt",
        versions={"short": "one item"},
    )
    (tmp_path / "toy.txt").write_text("hello")
    savemat(tmp_path / "arrays.mat", {"LAll": np.eye(3), "YAll": np.ones((3, 2))})
    assert convert_data_set(tmp_path, tmp_path / "first").source.startswith("arrays")
    assert register_converter(toy) is toy
    try:
        assert register_converter(toy) is toy  # the same one twice is fine
        options = ConvertOptions(version="short")
        conversion = convert_data_set(tmp_path, tmp_path / "second", options=options)
        with pytest.raises(ValueError, match="another kind is already named 'toy'"):
            register_converter(replace(toy, expects="other"))
    finally:
        CONVERTERS.remove("toy")
    assert conversion.source == "toy"
    assert conversion.collection.items[0].sources == {"text": "hello"}
