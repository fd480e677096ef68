"""Arrays in `.mat` and `.h5` files become a manifest, features and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from proxyhash.data import Collection, manifest_split
from proxyhash.datasets import ConvertOptions
from proxyhash.datasets.convert import Conversion, convert_data_set
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import DataError
from tests.datasets.arrays.builders import LABELS, TAGS, images, write_v73
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = [["label 0", "label 3"], ["label 1"], ["label 2"], ["label 0", "label 1"], ["label 3"]]
FEATURES = TAGS[:, :3] / 7


def convert(path: Path, **options: Any) -> Conversion:
    """Convert beside the files, by what they are recognized as."""
    folder = path if path.is_dir() else path.parent
    return convert_data_set(path, folder / "out", options=ConvertOptions(**options))


def labels(collection: Collection) -> list[list[str]]:
    return [list(item.labels) for item in collection.items]


def read_back(conversion: Conversion, modality: Any) -> NDArray[np.float32]:
    """The rows that `features:` gives training."""
    encoder = PrecomputedFeatures.from_file(conversion.features[modality], modality=modality)
    features = encoder.rows(conversion.collection)
    assert features.present.all()
    return np.asarray(features.values)


def stored_images(collection: Collection) -> list[NDArray[np.uint8]]:
    root = collection.path.parent
    return [
        np.asarray(Image.open(root / str(item.sources.get("image")))) for item in collection.items
    ]


def plain_hdf5(path: Path, variables: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in variables.items():
            file[name] = value
    return path


def save5(path: Path, variables: dict[str, Any]) -> Path:
    savemat(path, variables, do_compression=True)
    return path


WRITERS: dict[str, Callable[[Path, dict[str, Any]], Path]] = {
    "version 5": save5,
    "version 7.3": write_v73,
    "plain HDF5": plain_hdf5,
}


@pytest.mark.parametrize("writer", WRITERS)
class TestOneFile:
    """DCMH's `FLICKR-25K.mat` and its like."""

    def test_features(self, writer: str, tmp_path: Path) -> None:
        file = tmp_path / "FLICKR-25K.mat"
        WRITERS[writer](file, {"IAll": FEATURES, "YAll": TAGS, "LAll": LABELS})
        conversion = convert(file)
        collection = conversion.collection
        assert labels(collection) == NAMES
        assert collection.ids == ("1", "2", "3", "4", "5")
        assert not collection.has("image").any()
        np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))
        np.testing.assert_array_equal(read_back(conversion, "image"), FEATURES.astype(np.float32))
        assert "arrays with 3 image features and 6 text features" in conversion.source

    def test_other_names_and_category_numbers(self, writer: str, tmp_path: Path) -> None:
        categories = np.array([[1.0], [3.0], [2.0], [1.0], [3.0]])
        WRITERS[writer](tmp_path / "a.mat", {"XAll": FEATURES, "tags": TAGS, "labels": categories})
        (tmp_path / "label_names.txt").write_text("art\nbiology\n\nmusic\n")
        conversion = convert(tmp_path)
        expected = [["art"], ["music"], ["biology"], ["art"], ["music"]]
        assert labels(conversion.collection) == expected

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    @pytest.mark.parametrize("layout", ["items first", "items last"])
    def test_images(self, layout: str, dtype: Any, writer: str, tmp_path: Path) -> None:
        expected = images()
        axes = (0, 3, 1, 2) if layout == "items first" else (1, 2, 3, 0)
        values = expected.transpose(axes).astype(dtype)
        WRITERS[writer](tmp_path / "raw.mat", {"images": values, "YAll": TAGS, "LAll": LABELS})
        conversion = convert(tmp_path)
        assert set(conversion.features) == {"text"}
        assert conversion.collection.items[1].sources.get("image") == "images/2.png"
        for found, image in zip(stored_images(conversion.collection), expected, strict=True):
            np.testing.assert_array_equal(found, image)


def test_iall_is_turned_round_whoever_wrote_it(tmp_path: Path) -> None:
    """(n, 3, w, h) in HDF5, as every loader of `mirflickr25k-iall.mat` reads it."""
    plain_hdf5(tmp_path / "m-iall.mat", {"IAll": images().transpose(0, 3, 2, 1)})
    save5(tmp_path / "m-yall.mat", {"YAll": csc_matrix(TAGS)})
    save5(tmp_path / "m-lall.mat", {"LAll": LABELS})
    conversion = convert(tmp_path)
    for found, image in zip(stored_images(conversion.collection), images(), strict=True):
        np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))


def test_blocks_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images, and two rows, in memory at a time."""
    monkeypatch.setattr("proxyhash.datasets.arrays.tables._BLOCK_BYTES", 7 * 9 * 3 * 2)
    monkeypatch.setattr("proxyhash.datasets.arrays.tables._BLOCK_VALUES", 12)
    values = images().transpose(1, 2, 3, 0)
    write_v73(tmp_path / "a.mat", {"IAll": values, "YAll": TAGS, "LAll": LABELS})
    conversion = convert(tmp_path)
    np.testing.assert_array_equal(stored_images(conversion.collection), images())
    np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))


def test_blocks_of_items_that_are_left_out_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.datasets.arrays.tables._BLOCK_BYTES", 1)
    whole = {"img": images(), "LAll": LABELS, "idx_test": [[4]], "idx_db": [[0, 2]]}
    plain_hdf5(tmp_path / "a.h5", whole)
    conversion = convert(tmp_path)
    np.testing.assert_array_equal(stored_images(conversion.collection), images()[[0, 2, 4]])


def test_category_numbers_without_tables(tmp_path: Path) -> None:
    """A vector that lies, beside images alone."""
    numbers = np.array([[0, 2, 1, 0, 2]])
    write_v73(tmp_path / "a.mat", {"images": images(), "labels": numbers})
    expected = [["label 0"], ["label 2"], ["label 1"], ["label 0"], ["label 2"]]
    assert labels(convert(tmp_path).collection) == expected


def test_hdf5_with_the_items_last(tmp_path: Path) -> None:
    """Transposes that were saved again from Python, as h5py hands MATLAB's matrices out."""
    plain_hdf5(tmp_path / "a.h5", {"img": FEATURES.T, "txt": TAGS.T, "label": LABELS.T})
    conversion = convert(tmp_path / "a.h5")
    assert labels(conversion.collection) == NAMES
    np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))


class TestFileNames:
    def test_fall_names_the_images(self, tmp_path: Path) -> None:
        for folder, variables in {
            "FAll": {"FAll": np.array([f"im{i}.jpg" for i in range(5)], dtype=object)[:, None]},
            "YAll": {"YAll": TAGS},
            "LAll": {"LAll": LABELS},
        }.items():
            (tmp_path / "set" / folder).mkdir(parents=True)
            save5(tmp_path / "set" / folder / f"m-{folder.lower()}.mat", variables)
        elsewhere = tmp_path / "mirflickr"
        elsewhere.mkdir()
        for i in range(5):
            Image.fromarray(images()[i]).save(elsewhere / f"im{i}.jpg")
        conversion = convert(tmp_path / "set", images=elsewhere)
        assert conversion.collection.ids == ("im0", "im1", "im2", "im3", "im4")
        root = conversion.collection.path.parent
        for i, item in enumerate(conversion.collection.items):
            assert (root / str(item.sources.get("image"))).resolve() == (
                elsewhere / f"im{i}.jpg"
            ).resolve()
        with pytest.raises(DataError, match=r"no image 'im0\.jpg'.*--images"):
            convert(tmp_path / "set")

    def test_paths_that_are_true(self, tmp_path: Path) -> None:
        (tmp_path / "shots").mkdir()
        (tmp_path / "set").mkdir()
        paths = [tmp_path / "shots" / f"{i}.jpg" for i in range(5)]
        paths[0].touch()
        save5(tmp_path / "set" / "a.mat", {"index": [str(each) for each in paths], "LAll": LABELS})
        items = convert(tmp_path / "set").collection.items
        assert [item.sources.get("image") for item in items] == [
            f"../../shots/{i}.jpg" for i in range(5)
        ]

    def test_with_features_beside_them_names_are_kept(self, tmp_path: Path) -> None:
        names = np.array(["d/a.jpg", "d/b.jpg", "e/a.jpg", "c.jpg", "x.jpg"], dtype=object)
        save5(tmp_path / "a.mat", {"FAll": names, "XAll": FEATURES, "LAll": LABELS})
        collection = convert(tmp_path).collection
        assert [item.payload["file"] for item in collection.items] == names.tolist()
        assert collection.ids == ("1", "2", "3", "4", "5")  # for stems are twice there


CAPTIONS = [["a dog", "dogs  run"], ["one cat "], [], ["tr\u00e9e", "\U0001f333"], ["sea"]]
PATHS = [f"/home/someone/dataset/shots/{i}.jpg" for i in range(5)]
TEXTS = ["a dog dogs  run", "one cat", None, "tr\u00e9e \U0001f333", "sea"]


def test_a_sentence_a_column(tmp_path: Path) -> None:
    """Cells (n, 2): both captions of an item in its row."""
    cells = np.array([[f"a{i}", f"b {i}"] for i in range(5)], dtype=object)
    savemat(tmp_path / "a.mat", {"caption": cells, "category": LABELS, "XAll": FEATURES})
    texts = [item.sources.get("text") for item in convert(tmp_path).collection.items]
    assert texts == [f"a{i} b {i}" for i in range(5)]


class TestIndexCaptionLabel:
    """DCHMT's trio of files."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "dataset" / "shots").mkdir(parents=True)
        for i in range(5):
            (tmp_path / "dataset" / "shots" / f"{i}.jpg").touch()
        return tmp_path

    def check(self, folder: Path) -> None:
        collection = convert(folder).collection
        assert [item.sources.get("text") for item in collection.items] == TEXTS
        first = convert(folder, captions="first").collection
        assert [item.sources.get("text") for item in first.items] == [
            "a dog",
            "one cat",
            None,
            "tr\u00e9e",
            "sea",
        ]
        root = collection.path.parent
        assert [(root / str(item.sources.get("image"))).resolve() for item in collection.items] == [
            (folder / "dataset" / "shots" / f"{i}.jpg").resolve() for i in range(5)
        ]
        assert labels(collection) == NAMES

    @pytest.mark.parametrize("across", [True, False])
    def test_cells(self, across: bool, folder: Path) -> None:
        cells = np.empty((1, 5) if across else (5, 1), dtype=object)
        for i, sentences in enumerate(CAPTIONS):
            cells.flat[i] = np.array(sentences, dtype=object) if sentences else np.zeros((0, 0))
        savemat(folder / "caption.mat", {"caption": cells})
        savemat(folder / "index.mat", {"index": PATHS})  # a character matrix
        savemat(folder / "label.mat", {"category": LABELS.astype(float)})
        self.check(folder)

    def test_version_73(self, folder: Path) -> None:
        write_v73(folder / "caption.mat", {"caption": [each or "" for each in CAPTIONS]})
        write_v73(folder / "index.mat", {"index": PATHS})
        write_v73(folder / "label.mat", {"category": LABELS.astype(float)})
        self.check(folder)

    def test_character_matrices(self, folder: Path) -> None:
        savemat(folder / "caption.mat", {"caption": ["a dog", "a cat sat", "x", "y", "z"]})
        write_v73(folder / "index.mat", {"index": tuple(PATHS)})
        savemat(folder / "label.mat", {"category": LABELS})
        collection = convert(folder).collection
        assert [item.sources.get("text") for item in collection.items] == [
            "a dog",
            "a cat sat",
            "x",
            "y",
            "z",
        ]

    def test_strings_of_hdf5(self, folder: Path) -> None:
        plain_hdf5(
            folder / "all.h5",
            {
                "caption": ["a", "b c", "", "d", "e"],
                "index": np.bytes_(PATHS),
                "label": LABELS,
            },
        )
        collection = convert(folder).collection
        assert [item.sources.get("text") for item in collection.items] == [
            "a",
            "b c",
            None,
            "d",
            "e",
        ]

    def test_captions_in_a_text_file(self, folder: Path) -> None:
        (folder / "caption.txt").write_text("a dog\n\ntr\u00e9e\nx\ny\n", encoding="utf-8")
        savemat(folder / "index.mat", {"index": PATHS})
        savemat(folder / "label.mat", {"category": LABELS})
        texts = [item.sources.get("text") for item in convert(folder).collection.items]
        assert texts == ["a dog", None, "tr\u00e9e", "x", "y"]
        (folder / "caption.txt").write_text("a dog\n")
        with pytest.raises(DataError, match=r"category 5x4 in label\.mat, 1 strings, 5 strings"):
            convert(folder)

    def test_references_to_strings_and_to_nothing(self, folder: Path) -> None:
        with h5py.File(folder / "all.h5", "w") as file:
            file["words"] = ["a dog", "runs"]
            references = np.empty(5, dtype=h5py.ref_dtype)
            references[0] = file["words"].ref
            file["caption"], file["label"], file["index"] = references, LABELS, PATHS
        texts = [item.sources.get("text") for item in convert(folder).collection.items]
        assert texts == ["a dog runs", None, None, None, None]

    def test_windows_paths(self, folder: Path) -> None:
        paths = [each.replace("/", "\\") for each in PATHS]
        plain_hdf5(folder / "all.h5", {"index": paths, "label": LABELS})
        assert convert(folder).collection.items[0].sources.get("image") == "../dataset/shots/0.jpg"


class TestParts:
    """Files that are cut into queries, train items and a database."""

    @pytest.mark.parametrize(
        "names",
        [
            ("ImgQuery", "TagQuery", "LabQuery", "ImgDataBase", "TagDataBase", "LabDataBase"),
            ("I_te", "T_te", "L_te", "I_db", "T_db", "L_db"),
            ("VTest", "YTest", "testL", "VDatabase", "YDatabase", "databaseL"),
            ("test/img", "test/txt", "test/lab", "retrieval/img", "retrieval/txt", "retrieval/lab"),
            ("test_data", "test_y", "test_L", "dataset_data", "dataset_y", "dataset_L"),
        ],
    )
    def test_names(self, names: tuple[str, ...], tmp_path: Path) -> None:
        values = [each for part in (slice(2), slice(2, 5)) for each in self.rows(part)]
        plain_hdf5(tmp_path / "a.h5", dict(zip(names, values, strict=True)))
        conversion = convert(tmp_path)
        assert labels(conversion.collection) == NAMES
        splits = [item.split for item in conversion.collection.items]
        assert splits == ["query"] * 2 + ["database"] * 3
        np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))

    @staticmethod
    def rows(part: slice | list[int]) -> tuple[Any, ...]:
        return FEATURES[part], TAGS[part], LABELS[part]

    def test_one_query(self, tmp_path: Path) -> None:
        variables = dict(zip(("I_te", "T_te", "L_te"), self.rows(slice(1)), strict=True))
        variables |= dict(zip(("I_tr", "T_tr", "L_tr"), self.rows(slice(1, 5)), strict=True))
        save5(tmp_path / "a.mat", variables)
        conversion = convert(tmp_path)
        assert labels(conversion.collection) == NAMES
        split = manifest_split(conversion.collection, validation=1, seed=0)
        assert split.query.tolist() == [0]
        assert len(split.train) == 3

    def test_train_items_of_the_database_are_taken_once(self, tmp_path: Path) -> None:
        variables = dict(zip(("ImgQuery", "TagQuery", "LabQuery"), self.rows([0]), strict=True))
        variables |= dict(zip(("ImgTrain", "TagTrain", "LabTrain"), self.rows([3, 1]), strict=True))
        whole = self.rows([1, 2, 3, 4])
        variables |= dict(zip(("ImgDataBase", "TagDataBase", "LabDataBase"), whole, strict=True))
        plain_hdf5(tmp_path / "a.h5", variables)
        conversion = convert(tmp_path)
        splits = [item.split for item in conversion.collection.items]
        assert splits == ["query", "train", "database", "train", "database"]
        assert "copies of 2 train items taken once" in conversion.source
        np.testing.assert_array_equal(read_back(conversion, "text"), TAGS.astype(np.float32))

    def test_texts_and_names_tell_items_apart(self, tmp_path: Path) -> None:
        """One label and one image for all of them; train items are database items."""
        texts = {"query": ["a"], "train": ["b", "c"], "db": ["d", "c", "b"]}
        for part, each in texts.items():
            with h5py.File(tmp_path / "a.h5", "a") as file:
                file[f"{part}/caption"] = each
                file[f"{part}/img"] = ["same.jpg"] * len(each)
                file[f"{part}/label"] = LABELS[[0] * len(each)]
        (tmp_path / "same.jpg").touch()
        items = convert(tmp_path).collection.items
        found = [(item.sources.get("text"), item.split) for item in items]
        assert found == [("a", "query"), ("d", "database"), ("c", "train"), ("b", "train")]

    def test_train_items_beside_the_database_stay(self, tmp_path: Path) -> None:
        """Item 3 is twice among the train items, and once in the database: these are no copies."""
        variables: dict[str, Any] = {"L_te": LABELS[[0]], "T_te": TAGS[[0]]}
        variables |= {"L_tr": LABELS[[3, 3]], "T_tr": TAGS[[3, 3]]}
        variables |= {"L_db": LABELS[[3, 4]], "T_db": TAGS[[3, 4]]}
        save5(tmp_path / "a.mat", variables)
        splits = [item.split for item in convert(tmp_path).collection.items]
        assert splits == ["query", "train", "train", "database", "database"]

    def test_a_part_larger_than_the_database_stays(self, tmp_path: Path) -> None:
        variables = {"L_te": LABELS, "T_te": TAGS, "L_db": LABELS[:1], "T_db": TAGS[:1]}
        save5(tmp_path / "a.mat", variables)
        assert len(convert(tmp_path).collection) == 6

    def test_images_of_parts(self, tmp_path: Path) -> None:
        values = images()
        same = {f"L_{part}": LABELS[[0, 0]] for part in ("te", "tr", "db")}
        plain_hdf5(
            tmp_path / "a.h5",
            {"I_te": values[:2], "I_tr": values[[3, 2]], "I_db": values[[2, 3]]} | same,
        )
        conversion = convert(tmp_path)
        np.testing.assert_array_equal(stored_images(conversion.collection), values[:4])
        splits = [item.split for item in conversion.collection.items]
        assert splits == ["query"] * 2 + ["train"] * 2

    @pytest.mark.parametrize("writer", WRITERS)
    def test_index_lists_of_param(self, writer: str, tmp_path: Path) -> None:
        lists = {"indexTest": [1], "indexTrain": [3, 4], "indexDatabase": [2, 3, 4]}
        arrays = {name: np.array([each], float) for name, each in lists.items()}
        whole: dict[str, Any] = {"IAll": FEATURES, "YAll": TAGS, "LAll": LABELS}
        if writer == "plain HDF5":
            whole |= {f"param/{name}": each for name, each in arrays.items()}
        else:
            whole["param"] = arrays
        WRITERS[writer](tmp_path / "nus-wide-tc10.mat", whole)
        conversion = convert(tmp_path)
        splits = [item.split for item in conversion.collection.items]
        assert splits == ["query", "database", "train", "train"]
        assert "count from 1, 1 items in no list left out" in conversion.source
        np.testing.assert_array_equal(read_back(conversion, "text"), TAGS[:4].astype(np.float32))

    def test_images_of_items_in_no_list_are_left_out(self, tmp_path: Path) -> None:
        whole = {"IAll": images().transpose(0, 3, 2, 1), "LAll": LABELS}
        lists = {"idx_test": np.array([4]), "idx_ret": np.array([0, 2])}
        plain_hdf5(tmp_path / "a.h5", whole | lists)
        conversion = convert(tmp_path)
        np.testing.assert_array_equal(stored_images(conversion.collection), images()[[0, 2, 4]])
        assert "count from 0" in conversion.source


@pytest.mark.shared
def test_the_wikipedia_set_as_arrays(tmp_path: Path) -> None:
    """`wikiData.mat`, by another author, has the rows and labels of the released files."""
    folder = shared_path("data/wikipedia")
    arrays = convert_data_set(folder / "wikiData.mat", tmp_path / "arrays")
    released = convert_data_set(folder, tmp_path / "released", kind="wikipedia")
    categories = (folder / "categories.list").read_text().split()
    (train, query) = (slice(0, 2173), slice(2173, None))  # the released lists begin with train
    order = [*range(2866)[query], *range(2866)[train]]
    expected = released.collection.items
    found = [
        (item.split, categories[int(item.labels[0].removeprefix("label ")) - 1])
        for item in arrays.collection.items
    ]
    assert found == [(expected[each].split, expected[each].labels[0]) for each in order]
    for modality in ("image", "text"):
        rows = np.load(released.features[modality])[order]
        np.testing.assert_allclose(np.load(arrays.features[modality]), rows, rtol=1e-6)
