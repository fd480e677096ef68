"""The code file: what is saved is loaded, and what is wrong is refused by name."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.codes import CodeFile, pack
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def codes() -> CodeFile:
    rng = np.random.default_rng(0)
    image, text = pack(rng.integers(0, 2, (4, 12))), pack(rng.integers(0, 2, (4, 12)))
    image[3] = 0
    return CodeFile(
        ids=("a", "b", "é", "images/4.jpg"),
        codes={"image": image, "text": text},
        present={"image": np.array([True, True, True, False]), "text": np.ones(4, bool)},
        bits=12,
        model="f00d",
    )


def write_arrays(path: Path, codes: CodeFile, **changes: Any) -> Path:
    """Write a code file with some arrays replaced, or left out when None."""
    codes.save(path)
    with np.load(path) as archive:
        arrays = dict(archive) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_what_is_saved_is_loaded(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "codes.npz"
    codes.save(path)
    loaded = CodeFile.load(path)
    assert (loaded.ids, loaded.bits, loaded.model) == (codes.ids, 12, "f00d")
    assert len(loaded) == 4
    assert loaded.modalities == ("image", "text")
    for name in ("image", "text"):
        np.testing.assert_array_equal(loaded.of(name), codes.of(name))
        np.testing.assert_array_equal(loaded.has(name), codes.has(name))


def test_the_name_is_kept_and_equal_codes_give_equal_bytes(codes: CodeFile, tmp_path: Path) -> None:
    codes.save(tmp_path / "one")
    codes.save(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_modalities_go_by_name(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    only = CodeFile(codes.ids, {"text": codes.of("text")}, {"text": codes.has("text")}, bits=12)
    only.save(path)
    loaded = CodeFile.load(path)
    assert loaded.modalities == ("text",)
    assert loaded.of("image").shape == (4, 2)
    assert not loaded.of("image").any()
    assert not loaded.has("image").any()
    three = replace(
        codes,
        codes={**codes.codes, "audio": codes.of("image")},
        present={**codes.present, "audio": codes.has("image")},
    )
    three.save(path)
    loaded = CodeFile.load(path)
    assert loaded.modalities == ("image", "text", "audio")
    np.testing.assert_array_equal(loaded.of("audio"), codes.of("image"))
    with np.load(path) as archive:
        assert archive.files == [
            *("ids", "image_codes", "text_codes", "audio_codes"),
            *("has_image", "has_text", "has_audio", "bits", "model"),
        ]


def test_no_items_at_all(tmp_path: Path) -> None:
    empty = np.zeros((0, 8), np.uint8)
    nothing = np.zeros(0, bool)
    CodeFile((), {"image": empty}, {"image": nothing}, bits=64).save(tmp_path / "c.npz")
    assert len(CodeFile.load(tmp_path / "c.npz")) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": None}, "field 'ids' is missing"),
        ({"ids": np.arange(4)}, "field 'ids' has type int64"),
        ({"ids": np.array(["a", "a", "b", "c"])}, "field 'ids' holds 'a' twice"),
        ({"ids": np.array(["a", "b"])}, "field 'image_codes' has 4 rows for 2 ids"),
        ({"text_codes": np.zeros((4, 8), np.uint8)}, "field 'text_codes' are 8 bytes wide"),
        ({"text_codes": np.zeros((4, 2), np.float32)}, "field 'text_codes' has type float32"),
        ({"text_codes": np.zeros((4, 2), np.uint16)}, "must be packed uint8 codes, found uint16"),
        ({"text_codes": np.full((4, 2), 255, np.uint8)}, "bits set after bit 12"),
        ({"has_text": np.ones(3, bool)}, "field 'has_text' has 3 rows for 4 ids"),
        (
            {"has_text": np.zeros(4, bool)},
            "field 'text_codes', row 0: a code for 'a', which has no text",
        ),
        ({"has_text": None}, "field 'has_text' is missing"),
        ({"image_codes": None}, "field 'image_codes' is missing"),
        ({"audio_codes": np.zeros((4, 2), np.uint8)}, "field 'has_audio' is missing"),
        (
            dict.fromkeys(["image_codes", "has_image", "text_codes", "has_text"]),
            "there is no field with codes",
        ),
        ({"bits": np.array(0)}, "field 'bits' is 0"),
        ({"bits": np.array([12])}, r"field 'bits' has type int64 and shape \(1,\)"),
        ({"model": np.array(3.0)}, "field 'model' has type float64"),
    ],
)
def test_a_wrong_field_is_named(
    codes: CodeFile, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_arrays(tmp_path / "codes.npz", codes, **changes)
    with pytest.raises(DataError, match=message) as caught:
        CodeFile.load(path)
    assert str(path) in str(caught.value)


def test_fields_are_checked_when_made_in_memory(codes: CodeFile) -> None:
    with pytest.raises(DataError, match="field 'has_image' must be bool"):
        replace(codes, present={**codes.present, "image": np.ones(4)})
    with pytest.raises(DataError, match="field 'has_text' is missing"):
        replace(codes, present={"image": codes.has("image")})
    with pytest.raises(DataError, match="'a/b' cannot be the name of a modality"):
        replace(codes, codes={**codes.codes, "a/b": codes.of("text")})


def test_pickles_are_refused(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, allow_pickle=True, **(arrays | {"ids": np.array([{}, {}, {}, {}], object)}))
    with pytest.raises(DataError, match="field 'ids': it is not a numpy array that can be read"):
        CodeFile.load(path)


def test_missing_cut_and_foreign_files(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    with pytest.raises(DataError, match="does not exist; `proxyhash train`"):
        CodeFile.load(path)
    codes.save(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\x93NUMPY nonsense", content[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is not a code file, or is damaged"):
            CodeFile.load(path)
    with pytest.raises(DataError, match="is not a code file"):
        CodeFile.load(tmp_path)


def test_altered_content_is_noticed(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    content = path.read_bytes()
    spot = content.index(codes.of("image").tobytes())
    path.write_bytes(content[:spot] + bytes([content[spot] ^ 1]) + content[spot + 1 :])
    with pytest.raises(DataError, match="damaged"):
        CodeFile.load(path)


def test_size_is_bounded(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    with pytest.raises(DataError, match="the limit is 100"):
        CodeFile.load(path, max_bytes=100)


def test_a_header_cannot_claim_more_than_there_is(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            if name == "image_codes":
                header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2)}
                np.lib.format.write_array_header_1_0(stream, header)
            else:
                np.lib.format.write_array(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())
    with pytest.raises(DataError, match="field 'image_codes' claims shape"):
        CodeFile.load(path)


def test_unreadable_is_not_absent(codes: CodeFile, tmp_path: Path) -> None:
    missed = {"image": np.array([False, False, False, True])}
    marked = replace(codes, unreadable=missed)
    marked.save(tmp_path / "x.npz")
    loaded = CodeFile.load(tmp_path / "x.npz")
    assert loaded.missed("image").tolist() == [False, False, False, True]
    assert not loaded.missed("text").any()
    full = replace(codes, ids=codes.ids[::-1], present={"image": np.ones(4, bool)} | {
        "text": np.ones(4, bool)})  # fmt: skip
    filled = marked.filled_from(full)
    assert (filled.has("image").all(), filled.missed("image").any()) == (True, False)
    assert (filled.of("image")[3] == full.of("image")[0]).all()
    assert (filled.of("image")[:3] == codes.of("image")[:3]).all()
    assert marked.missed("image").any()  # left as it was
    with pytest.raises(DataError, match="different models"):
        marked.filled_from(replace(full, model="other"))
    for wrong, message in (
        ({"image": np.ones(4, bool)}, "row 0: the item has a code as well"),
        ({"image": np.ones(3, bool)}, "must be bool of shape"),
        ({"sound": np.zeros(4, bool)}, "'unreadable_sound' is there"),
    ):
        with pytest.raises(DataError, match=message):
            replace(codes, unreadable=wrong)


def test_queries_can_have_codes_of_their_own(codes: CodeFile, tmp_path: Path) -> None:
    other = codes.of("text")[::-1].copy()
    asking = replace(codes, queries={"text": other})
    asking.save(tmp_path / "x.npz")
    loaded = CodeFile.load(tmp_path / "x.npz")
    assert loaded.modalities == ("image", "text")
    np.testing.assert_array_equal(loaded.as_queries("text"), other)
    np.testing.assert_array_equal(loaded.of("text"), codes.of("text"))
    np.testing.assert_array_equal(loaded.as_queries("image"), codes.of("image"))
    codes.save(tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as archive:
        assert not [name for name in archive if name.startswith("query")]
    for wrong, message in (
        ({"text": other[:3]}, "'query_text' has 3 rows for 4 ids"),
        ({"text": other | 1}, "query_text"),
        ({"sound": other}, "'query_sound' is there, but not 'sound_codes'"),
    ):
        with pytest.raises(DataError, match=message):
            replace(codes, queries=wrong)


def test_a_member_that_is_there_twice_is_refused(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("ids.npy", archive.read("ids.npy"))
    with pytest.raises(DataError, match=r"it holds 'ids\.npy' twice"):
        CodeFile.load(path)


def test_truth_values_are_0_or_1(codes: CodeFile, tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    codes.save(path)
    with np.load(path) as arrays:
        changed = dict(arrays)
    name = next(name for name in changed if name.startswith("has_"))
    changed[name] = np.full(len(codes), 2, np.uint8).view(np.bool_)
    np.savez(path, **changed)
    with pytest.raises(DataError, match=f"'{name}' holds values other than true and false"):
        CodeFile.load(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "codes.npz")
    with pytest.raises(DataError, match="is not a code file but a folder, a pipe or a device"):
        CodeFile.load(tmp_path / "codes.npz")
