from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from proxyhash.encoders.feature_file import open_table
from proxyhash.errors import FeatureError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = np.arange(12, dtype=np.float64).reshape(4, 3) / 7
NAMES = ["b", "dé", "a", "long name"]


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def write_hdf5(path: Path, arrays: Mapping[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_mat(path: Path, arrays: Mapping[str, Any]) -> None:
    cells = {
        name: np.array(list(array), dtype=object) if isinstance(array, list) else array
        for name, array in arrays.items()
    }
    scipy.io.savemat(path, cells)


def write_mat73(path: Path, arrays: Mapping[str, Any]) -> None:
    """As MATLAB's `save -v7.3`: HDF5 behind a header of 512 bytes, arrays transposed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if isinstance(array, list):
                cells = [
                    file.create_dataset(
                        f"#refs#/{number}", data=np.array([list(map(ord, text))], np.uint16).T
                    )
                    for number, text in enumerate(array)
                ]
                file[name] = np.array([[cell.ref] for cell in cells], dtype=h5py.ref_dtype).T
            else:
                file[name] = np.asarray(array).T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124))


WRITERS = {
    "a.npz": write_npz,
    "a.h5": write_hdf5,
    "a.hdf5": write_hdf5,
    "v5.mat": write_mat,
    "v73.mat": write_mat73,
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function from arrays to the file that holds them, one for each format."""

    def write(**arrays: Any) -> Path:
        path = tmp_path / request.param
        WRITERS[request.param](path, arrays)
        return path

    return write


def test_the_only_matrix_is_taken(write: Any) -> None:
    table = open_table(write(features=ROWS, scale=np.array([2.0, 3.0, 4.0, 5.0, 6.0])[None, :0]))
    assert (table.name, table.shape, table.has_ids) == ("features", (4, 3), False)
    values = table.values()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, ROWS.astype(np.float32))


@pytest.mark.parametrize("kind", ["float16", "float32", "int32", "uint8"])
def test_numbers_of_every_type_become_float32(write: Any, kind: str) -> None:
    if kind == "float16":
        path = write(features=ROWS.astype(np.float32))
    else:
        path = write(features=(ROWS * 7).astype(kind))
    assert open_table(path).values().dtype == np.float32


def test_several_matrices_need_a_choice(write: Any) -> None:
    path = write(image=ROWS, text=ROWS[:, :2])
    with pytest.raises(FeatureError, match=r"choose one: .*#image 4x3, .*#text 4x2"):
        open_table(path)
    with pytest.raises(FeatureError, match=r"no matrix 'audio'; choose one: .*#image 4x3"):
        open_table(path, key="audio")
    table = open_table(path, key="text")
    np.testing.assert_array_equal(table.values(), ROWS[:, :2].astype(np.float32))


def test_ids_come_along(write: Any) -> None:
    table = open_table(write(features=ROWS, ids=NAMES))
    assert table.has_ids
    assert table.ids() == NAMES


def test_whole_numbers_are_ids_too(write: Any) -> None:
    numbers = np.array([[5.0], [7.0], [11.0], [2.0]])
    assert open_table(write(features=ROWS, ids=numbers)).ids() == ["5", "7", "11", "2"]


def test_ids_must_fit(write: Any) -> None:
    with pytest.raises(FeatureError, match="'ids' has 3 entries, but there are 4 rows"):
        open_table(write(features=ROWS, ids=NAMES[:3])).ids()
    with pytest.raises(FeatureError, match="'ids' has 'a' twice"):
        open_table(write(features=ROWS, ids=["a", "b", "c", "a"])).ids()


def test_a_file_without_matrix_says_what_it_has(write: Any) -> None:
    with pytest.raises(FeatureError, match=r"no numeric matrix \(found: cube \(2, 3, 2\)"):
        open_table(write(cube=np.zeros((2, 3, 2))))


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(ROWS))
    table = open_table(path)
    assert (table.name, table.shape, table.has_ids) == ("", (4, 3), False)
    values = table.values()
    np.testing.assert_array_equal(values, ROWS.astype(np.float32))
    values[:] = 0  # memory of its own
    assert open_table(path).values().any()


def test_hdf5_groups_and_sparse_mat(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", {"train/image": ROWS, "train/text": ROWS})
    np.testing.assert_array_equal(
        open_table(tmp_path / "a.h5", key="train/text").values(), ROWS.astype(np.float32)
    )
    scipy.io.savemat(tmp_path / "a.mat", {"tags": scipy.sparse.csc_array(ROWS)})
    np.testing.assert_array_equal(open_table(tmp_path / "a.mat").values(), ROWS.astype(np.float32))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.mat"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, b"MATLAB 7.3 MAT-file".ljust(600)])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FeatureError, match=f"{name}: (cannot be read|no matrix)"):
        open_table(path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    objects = np.array([["a", None]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    with pytest.raises(FeatureError, match="cannot be read"):
        open_table(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", features=ROWS, ids=objects)
    with pytest.raises(FeatureError, match="cannot be read"):
        open_table(tmp_path / "a.npz").ids()


def test_what_is_no_feature_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(FeatureError, match=r"feature files end in \.npy, \.npz"):
        open_table(tmp_path / "a.csv")
    with pytest.raises(FeatureError, match="no such file"):
        open_table(tmp_path / "b.npy")
    (tmp_path / "c.npy").mkdir()
    with pytest.raises(FeatureError, match="not a file"):
        open_table(tmp_path / "c.npy")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hdf5(tmp_path / "a.h5", {"features": ROWS})
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"reading a\.h5 needs h5py: pip install"):
        open_table(tmp_path / "a.h5")
