"""What is damaged, missing or ambiguous is refused in words, before much is read."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from proxyhash.datasets.arrays import variable
from proxyhash.datasets.convert import convert_data_set
from proxyhash.datasets.converters.arrays import read_variables
from proxyhash.errors import DataError, MissingExtraError
from tests.datasets.arrays.builders import LABELS, TAGS, images, write_v73

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD: dict[str, Any] = {"YAll": TAGS, "LAll": LABELS}


def refused(tmp_path: Path, says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert_data_set(tmp_path / "a.mat", tmp_path / "out")
    assert not (tmp_path / "out" / "items.jsonl").exists()


@pytest.mark.parametrize("write", [savemat, write_v73])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"LAll": LABELS[:4]}, "one row per item .* LAll 4x4 in a.mat, YAll 5x6 in a.mat"),
        ({"YAll": np.where(TAGS == 23, np.inf, TAGS)}, "YAll, item 4: there is NaN or infinity"),
        ({"YAll": TAGS + 1e300}, "YAll, item 1: there is NaN or infinity"),
        ({"LAll": LABELS * np.nan}, "LAll, item 1: there is NaN"),
        ({"LAll": LABELS * 7.0}, "LAll holds 7; 1 for a label and 0 or -1 for none"),
        ({"LAll": TAGS[:, 1:2] / 4}, "LAll: class numbers are whole numbers"),
        ({"IAll": images()[:4]}, "IAll 4x7x9x3 .* has no such images.* for 5 items"),
        ({"IAll": images() / 255}, "values that no image has"),
        ({"IAll": images()[..., 0]}, "IAll 5x7x9 in a.mat has 3 axes"),
        ({"labels": LABELS}, "both seem to be labels of all items.*YAll 5x6"),
        ({"L_te": LABELS, "T_te": TAGS}, "of all items, and variables of query items"),
        ({"indexTest": np.array([[0.0, 5.0]])}, "index lists hold 0 to 5; for 5 items, 0 to 4"),
        (
            {"indexTest": np.array([[1.5]])},
            "a.mat has values other than whole numbers",
        ),
        ({"indexTest": np.array([[1.0, 1.0]])}, "query list has a number twice"),
        ({"idx_te": np.ones((1, 1)), "idx_tr": np.ones((1, 1))}, "1 items are query and train"),
        ({"LAll": np.zeros((0, 4)), "YAll": np.zeros((0, 6))}, "is empty; one row per item|has no"),
    ],
)
def test_variables(
    changed: dict[str, Any], says: str, write: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path / "a.mat", GOOD | changed)
    refused(tmp_path, says)


@pytest.mark.parametrize("write", [savemat, write_v73])
def test_what_is_missing_is_listed(write: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "a.mat", {"YAll": TAGS, "other": LABELS})
    refused(tmp_path, r"of all items, expected are labels .*; found were .*other 5x4 in a\.mat")
    write(tmp_path / "a.mat", {"other": LABELS})
    refused(tmp_path, r"has no labels \(LAll, .*; found were other 5x4 in a\.mat")
    write(tmp_path / "a.mat", {"L_te": LABELS, "T_te": TAGS, "L_tr": LABELS, "I_tr": TAGS})
    refused(tmp_path, "the parts do not have the same variables")


def test_parts_with_other_classes(tmp_path: Path) -> None:
    parts = {"L_te": LABELS, "T_te": TAGS, "L_tr": LABELS[:, :2], "T_tr": TAGS}
    savemat(tmp_path / "a.mat", parts)
    refused(tmp_path, "have 2 or 4 columns")


def test_names_of_labels_are_as_many_as_labels(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", GOOD)
    (tmp_path / "label_names.txt").write_text("a\nb\nc\n")
    refused(tmp_path, "label_names.txt has 3 names, but there are 4 classes")


def test_images_whose_axes_could_be_either(tmp_path: Path) -> None:
    values = np.zeros((3, 3, 3, 3), np.uint8)
    savemat(tmp_path / "a.mat", {"IAll": values, "LAll": LABELS[:3]})
    refused(tmp_path, "IAll 3x3x3x3 in a.mat may be read in several ways")


class TestDamage:
    @pytest.mark.parametrize("write", [savemat, write_v73])
    @pytest.mark.parametrize("left", [0, 60, 400, 0.5, 0.9])
    def test_truncated(self, left: float, write: Callable[..., Any], tmp_path: Path) -> None:
        path = tmp_path / "a.mat"
        write(path, GOOD | {"YAll": np.random.default_rng(0).random((5, 4000))})
        content = path.read_bytes()
        path.write_bytes(content[: int(left if left > 1 else left * len(content))])
        refused(tmp_path, "a.mat cannot be read|a.mat is cut short: it has .* copy it again")

    def test_nonsense(self, tmp_path: Path) -> None:
        (tmp_path / "a.mat").write_bytes(b"words, and not a matrix" * 50)
        refused(tmp_path, r"a\.mat cannot be read .*; is it damaged, or not copied whole\?")
        (tmp_path / "a.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
        refused(tmp_path, "a.mat cannot be read")

    def test_a_folder_with_a_damaged_file_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "a.mat").write_bytes(b"words")
        with pytest.raises(DataError, match=r"a\.mat cannot be read"):
            convert_data_set(tmp_path, tmp_path / "out")

    def test_an_unreadable_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.mat cannot be read: No such file"):
            read_variables(tmp_path / "a.mat")

    def test_no_pickle_is_loaded(self, tmp_path: Path) -> None:
        cells = np.array([["a", print], ["b", print]], dtype=object)
        with pytest.raises(TypeError):
            savemat(tmp_path / "b.mat", {"caption": cells})
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file["caption"] = np.void(b"\x80\x04cos\nsystem\n")
            file["label"] = LABELS
        refused(tmp_path, "expected are labels")


class TestBounds:
    def test_declared_sizes_are_checked_before_reading(self, tmp_path: Path) -> None:
        """A file of a few kB that says it holds 10^12 numbers."""
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file.create_dataset("YAll", (10**6, 10**6), "f4", chunks=(1, 1000))
            file.create_dataset("LAll", (10**6, 4), "u1", chunks=(1000, 4))
        refused(tmp_path, "YAll 1000000x1000000 in a.mat takes more than 8 GiB")
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file.create_dataset("img", (4, 3, 20_000, 20_000), "u1", chunks=(1, 1, 100, 100))
            file["LAll"] = LABELS[:4]
        refused(tmp_path, r"images of more than 10\^8 values")
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file.create_dataset("indexTest", (10**6, 10**6), "u1", chunks=(1, 1000))
            file["YAll"], file["LAll"] = TAGS, LABELS
        refused(tmp_path, "indexTest has 1,000,000,000,000 values")

    def test_version_5(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        savemat(tmp_path / "a.mat", GOOD)
        monkeypatch.setattr("proxyhash.datasets.arrays.matlab5.MAX_BYTES", 100)
        refused(tmp_path, "YAll has shape .*save it with -v7.3, which is read in parts")

    def test_cells_that_unpack_to_very_much(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cells = np.array(["a" * 200_000] * 5, dtype=object)
        savemat(tmp_path / "a.mat", {"caption": cells, "category": LABELS}, do_compression=True)
        assert (tmp_path / "a.mat").stat().st_size < 50_000
        convert_data_set(tmp_path / "a.mat", tmp_path / "fine")
        monkeypatch.setattr("proxyhash.datasets.arrays.matlab5._MAX_TEXT_BYTES", 1_000_000)
        refused(tmp_path, "a.mat unpacks to more than")

    def test_damage_while_unpacking(self, tmp_path: Path) -> None:
        packed = zlib.compress(b"x" * 100)
        element = (15).to_bytes(4, "little") + (len(packed)).to_bytes(4, "little")
        with (tmp_path / "a.mat").open("wb") as file:
            file.write(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + element + packed)
        refused(tmp_path, "a.mat cannot be read")

    def test_texts_of_version_73(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        deep: Any = "text"
        for _ in range(7):
            deep = [deep]
        write_v73(tmp_path / "a.mat", {"caption": [deep] * 5, "category": LABELS})
        refused(tmp_path, "deep, is not a caption")
        write_v73(tmp_path / "a.mat", {"caption": [TAGS] * 5, "category": LABELS})
        refused(tmp_path, "holds float64, not text; strings are expected")
        monkeypatch.setattr("proxyhash.datasets.arrays.hdf5._MAX_CELLS", 4)
        refused(tmp_path, "caption has 5 entries; are they texts")

    def test_a_folder_of_very_many(self, tmp_path: Path) -> None:
        for number in range(51):
            (tmp_path / f"{number}.mat").touch()
        with pytest.raises(DataError, match="has 51 array files"):
            convert_data_set(tmp_path, tmp_path / "out")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_v73(tmp_path / "a.mat", GOOD)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"reading a\.mat needs h5py: pip install"):
        convert_data_set(tmp_path, tmp_path / "out")


def test_a_struct_s_fields_and_what_is_no_array(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"param": {"indexTest": [1], "name": "x"}, "many": np.eye(2)})
    names = [each.name for each in read_variables(tmp_path / "a.mat")]
    assert sorted(names) == ["many", "param/indexTest"]


def test_names_mean_one_thing() -> None:
    """Two words in a row could be cut in two places; where they are is known."""
    cuts: dict[str, set[Any]] = {}
    for role, words in variable.ROLES.items():
        for part, names in variable.PARTS.items():
            for word in words:
                for name in names:
                    cuts.setdefault(word + name, set()).add((role, part))
                    cuts.setdefault(name + word, set()).add((role, part))
    several = {name for name, meanings in cuts.items() if len(meanings) > 1}
    assert several == {"vall", "validx"}
    assert variable.meaning("VAll") == ("image", "all")
    assert [variable.meaning(name) for name in ("ids", "word_vec", "x", "Y")] == [None] * 4


def test_lists_of_variables() -> None:
    assert variable.listed([]) == "nothing"
