"""Collections whose images are inside other files: webdataset, Parquet, saved data sets."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxyhash.data import read_collection, scan_manifest
from proxyhash.data.check import check_collection
from proxyhash.data.images import open_image
from proxyhash.errors import ManifestError
from proxyhash.hashing.encode import Encode

COUNT = 120
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows_of(scenes):
    return [
        {
            "id": item.id,
            "image": (scenes.root / item.sources["image"]).read_bytes(),
            "text": item.sources["text"],
            "labels": list(item.labels),
            "price": place,
        }
        for place, item in enumerate(scenes.items[:COUNT])
    ]


def add(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def write_webdataset(folder, rows):
    for shard in range(3):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as tar:
            for row in rows[shard::3]:
                about = {name: row[name] for name in ("labels", "price")}
                add(tar, f"{row['id']}.png", row["image"])
                add(tar, f"{row['id']}.txt", row["text"].encode())
                add(tar, f"{row['id']}.json", json.dumps(about).encode())
    return folder


def write_parquet(folder, rows):
    (folder / "data").mkdir()
    for shard in range(3):
        pq.write_table(
            table_of(rows[shard::3]), folder / f"data/part-{shard}.parquet", row_group_size=7
        )
    return folder


def table_of(rows):
    images = [{"bytes": row["image"], "path": None} for row in rows]
    columns = {name: [row[name] for row in rows] for name in ("id", "labels", "price")}
    return pa.table(
        {"caption": [row["text"] for row in rows], "image": pa.array(images, IMAGE), **columns}
    )


def write_saved(folder, rows):
    files = []
    for shard in range(3):
        name = f"data-{shard:05d}-of-00003.arrow"
        table = table_of(rows[shard::3])
        with pa.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=11)
        files.append({"filename": name})
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_indices_files": None}))
    return folder


WRITERS = {"webdataset": write_webdataset, "parquet": write_parquet, "huggingface": write_saved}


@pytest.fixture(params=sorted(WRITERS))
def shards(request, scenes, tmp_path):
    """The format, and a folder of 120 scenes in it."""
    folder = tmp_path / "shards"
    folder.mkdir()
    return request.param, WRITERS[request.param](folder, rows_of(scenes))


def test_they_are_checked_and_give_the_items_of_the_files(shards, scenes):
    name, folder = shards
    report = check_collection(folder)
    assert (report.format, report.items, report.errors) == (name, COUNT, 0)
    assert report.files["image"].read == COUNT
    collection = read_collection(folder)
    expected = {item.id: item for item in scenes.items[:COUNT]}
    assert {*collection.ids} == {*expected}
    for item in collection.items:
        assert item.sources["text"] == expected[item.id].sources["text"]
        assert set(item.labels) == set(expected[item.id].labels)
        assert isinstance(item.payload["price"], int)
    rows = [item.row for item in collection.items]
    assert rows == [*range(1, COUNT + 1)]


def test_they_are_encoded_as_the_files_are(shards, scenes, small_run):
    collection = read_collection(shards[1])
    encode = Encode(small_run, root=collection.root)
    found = encode(
        {"id": collection.ids, "image": [item.sources["image"] for item in collection.items]}
    )
    files = {item.id: item.sources["image"] for item in scenes.items}
    expected = Encode(small_run, root=scenes.root)(
        {"image": [files[id_] for id_ in collection.ids]}
    )
    assert (found["image_codes"] == expected["image_codes"]).all()
    assert found["has_image"].all()


def test_they_are_trained_on_indexed_and_searched(shards, small_run, tmp_path, proxyhash_command):
    _, folder = shards
    run, index = tmp_path / "run", tmp_path / "index"
    options = [
        "--bits",
        16,
        "--epochs",
        2,
        "--query",
        20,
        "--validation",
        10,
        "--image-encoder",
        "descriptor",
    ]
    result = proxyhash_command("train", folder, "--out", run, *options)
    assert result.code == 0, result.err
    result = proxyhash_command("index", "build", run, folder, "--out", index)
    assert result.code == 0, result.err
    found = proxyhash_command("search", index, "--text", "a red car", "-k", 3, "--json")
    assert len(found.json["hits"]) == 3
    result = proxyhash_command("index", "sync", index, folder, "--json")
    assert result.code == 0, result.err
    assert result.json["unchanged"] == COUNT


def test_an_image_that_cannot_be_read_is_named_by_row(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "1.jpg", b"\xff\xd8\xff not an image")
        add(tar, "1.txt", b"text")
    report = check_collection(tmp_path)
    (finding,) = report.files["image"].unreadable
    assert (finding.row, finding.id, finding.file) == (1, "1", "a.tar/1.jpg")
    assert "a.tar/1.jpg: " in finding.message


def test_members_of_other_kinds_are_counted_and_never_opened(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "1.txt", b"a text")
        for suffix in ("pyd", "pickle", "pkl", "pth"):
            add(tar, f"1.{suffix}", pickle.dumps(Harm()))
        add(tar, "1.cls", b"dog")
    scan = scan_manifest(tmp_path)
    assert not (tmp_path / "harm").exists()
    (item,) = scan.items
    assert (item.id, item.sources, item.labels) == ("1", {"text": "a text"}, ("dog",))
    assert "4 members not read (1 .pyd, 1 .pickle, 1 .pkl)" in scan.recognized


def test_samples_of_a_tar_file(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "x/1.left.png", b"one")
        add(tar, "x/1.json", b'{"id": 7, "caption": "from json", "labels": ["a"], "n": 2}')
        add(tar, "x/1.txt", b" from txt\n")
        add(tar, "2.json", b"[1]")
        add(tar, "3.json", b"{")
        add(tar, "4.txt", b"a" * (1 << 20 | 1))
        add(tar, "5.txt", b"\xff\xfe")
        add(tar, "./6.JPEG", b"two")
        add(tar, "../7.jpg", b"outside")
        add(tar, "6.txt", b"six, but not beside its image")
    scan = scan_manifest(tmp_path / "a.tar")
    first, second = scan.items
    assert (first.id, first.row, first.labels, first.payload) == ("7", 1, ("a",), {"n": 2})
    assert first.sources == {"image": "a.tar/x/1.left.png", "text": "from txt"}
    assert (second.id, second.sources) == (
        "6",
        {"image": "a.tar/6.JPEG", "text": "six, but not beside its image"},
    )
    assert "1 members not read (1 hidden or outside names)" in scan.recognized
    said = [str(problem) for problem in scan.problems]
    assert said[0] == "row 2: a.tar/2.json is not a JSON object"
    assert said[1].startswith("row 3: a.tar/3.json cannot be read (")
    assert said[2] == "row 4: a.tar/4.txt has more than 1,048,576 bytes"
    assert said[3].startswith("row 5: a.tar/5.txt cannot be read (")


@pytest.mark.parametrize("prefix", ["./", "/", "", "./photos/"])
def test_names_are_those_after_unpacking(prefix, scenes, tmp_path):
    rows = rows_of(scenes)[:5]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for row in rows:
            add(tar, f"{prefix}{row['id']}.png", row["image"])
            add(tar, f"{prefix}{row['id']}.txt", row["text"].encode())
    report = check_collection(tmp_path)
    assert report.errors == 0
    found = read_collection(tmp_path)
    inside = prefix.removeprefix("./").removeprefix("/")
    assert found.ids == tuple(inside + row["id"] for row in rows)
    for path, row in zip(found.sources("image"), rows, strict=True):
        with open_image(path) as image, open_image(row["image"]) as wanted:
            assert image.tobytes() == wanted.tobytes()


def test_an_image_that_is_there_twice_is_the_problem_of_its_row(scenes, tmp_path):
    rows = rows_of(scenes)[:4]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for place, row in enumerate(rows):
            add(tar, f"{place % 2}.png", row["image"])
            add(tar, f"{place % 2}.txt", row["text"].encode())
    scan = scan_manifest(tmp_path)
    assert [item.sources["text"] for item in scan.items] == [row["text"] for row in rows[:2]]
    assert [str(problem) for problem in scan.problems] == [
        f"row {place + 3}: a.tar/{place}.png is there twice, and images are found by their names; "
        "rename one of them"
        for place in range(2)
    ]


def test_of_several_images_the_shortest_ending_counts_and_others_are_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("1.depth.png", "1.jpg", "1.mask.x.png", "2.left.png", "2.right.png"):
            add(tar, name, name.encode())
        link = tarfile.TarInfo("3.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "1.jpg"
        tar.addfile(link)
        add(tar, ".cache/4.jpg", b"hidden")
    scan = scan_manifest(tmp_path)
    assert [item.sources["image"] for item in scan.items] == ["a.tar/1.jpg", "a.tar/2.left.png"]
    note = "5 members not read (3 more images of a sample, 1 links, 1 hidden or outside names)"
    assert note in scan.recognized


def test_a_folder_of_compressed_shards_says_how_they_are_read(tmp_path):
    with tarfile.open(tmp_path / "0.tar.gz", "w:gz") as tar:
        add(tar, "1.txt", b"text")
    with pytest.raises(
        ManifestError, match=r"0\.tar\.gz is compressed: unpack it to a plain \.tar"
    ):
        read_collection(tmp_path)


def test_columns_of_bytes_of_other_types_and_names(scenes, tmp_path):
    rows = rows_of(scenes)[:5]
    ids = [row["id"] for row in rows]
    images = pa.array([row["image"] for row in rows])
    for name, column in (
        ("views", images.cast(pa.binary_view())),
        ("words", images.dictionary_encode()),
    ):
        pq.write_table(pa.table({"id": ids, "image": column}), tmp_path / f"{name}.parquet")
        found = read_collection(tmp_path / f"{name}.parquet")
        for path, row in zip(found.sources("image"), rows, strict=True):
            with open_image(path) as image, open_image(row["image"]) as wanted:
                assert image.tobytes() == wanted.tobytes()
    labels = pa.array([b"dog", b"cat", None, b"dog", b"cat"])
    pq.write_table(
        pa.table({"id": ids, "text": ids, "photo": images, "label": labels}),
        tmp_path / "other.parquet",
    )
    scan = scan_manifest(tmp_path / "other.parquet")
    assert [item.labels for item in scan.items] == [("dog",), ("cat",), (), ("dog",), ("cat",)]
    note = "column photo holds bytes, which are not read; call it image if they are images"
    assert note in scan.recognized


def test_names_that_shards_repeat_get_that_of_the_shard(tmp_path):
    for shard in "ab":
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            add(tar, "0001.txt", shard.encode())
    assert read_collection(tmp_path).ids == ("0001", "b/0001")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train-0.tar", "test-0.tar"), ["test", "train"]),
        (("train/0.tar", "val/0.tar"), ["train", "val"]),
        (("train-0.tar", "train-1.tar"), [None, None]),
        (("trains.tar", "tests.tar"), [None, None]),
    ],
)
def test_splits_of_shards(names, splits, tmp_path):
    for place, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with tarfile.open(tmp_path / name, "w") as tar:
            add(tar, f"{place}.txt", b"x")
    assert [item.split for item in read_collection(tmp_path).items] == splits


def test_parquet_columns_of_paths_and_of_files(tmp_path):
    rows = {"image": [b"a.jpg", None], "text": ["x", "y"]}
    pq.write_table(pa.table(rows), tmp_path / "paths.parquet")
    items = scan_manifest(tmp_path / "paths.parquet").items
    assert items[0].sources["image"] == "a.jpg"
    content = pa.array([None, b"\x89PNG\r\n\x1a\n"], pa.binary())
    pq.write_table(pa.table({"id": [1, 2], "img": content}), tmp_path / "files.parquet")
    first, second = scan_manifest(tmp_path / "files.parquet").items
    assert (first.sources, second.sources) == ({}, {"image": "files.parquet/img/2"})


@pytest.mark.parametrize("form", ["parquet", "shards", "saved"])
@pytest.mark.parametrize("first", ["bytes", "paths"])
def test_rows_of_bytes_and_rows_of_paths_in_one_column(form, first, scenes, tmp_path):
    """Each image is the one of its row; a path without a file is named by row and item."""
    count = 60  # more than are looked at to tell the columns
    rows = rows_of(scenes)[:count]
    (tmp_path / "photos").mkdir()
    images, photos = [], "../photos" if form == "shards" else "photos"
    for place, row in enumerate(rows):
        path = f"{photos}/{row['id']}.png"
        inside = (place < 20) == (first == "bytes")
        if not inside:
            (tmp_path / "photos" / f"{row['id']}.png").write_bytes(row["image"])
        images.append({"bytes": row["image"] if inside else None, "path": path})
    images[-2:] = [{"bytes": None, "path": f"{photos}/gone.png"}, {"bytes": None, "path": None}]
    about = {"id": [row["id"] for row in rows], "image": pa.array(images, IMAGE)}
    table = pa.table(about | {"text": [row["text"] for row in rows]})
    if form == "saved":
        with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table)
        (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
        manifest = tmp_path
    else:
        manifest = tmp_path / "a.parquet"
        pq.write_table(table, manifest, row_group_size=30)
        if form == "shards":
            manifest.unlink()
            manifest = tmp_path / "tables"
            manifest.mkdir()
            for start in (0, 25):
                part = table.slice(start, 25 if start == 0 else None)
                pq.write_table(part, manifest / f"part-{start:02d}.parquet")
    found = read_collection(manifest)
    for item, path, row in zip(found.items[:-2], found.sources("image"), rows, strict=False):
        with open_image(path) as image, open_image(row["image"]) as wanted:
            assert image.tobytes() == wanted.tobytes()
        assert (item.id, item.sources["text"]) == (row["id"], row["text"])
    assert "image" not in found.items[-1].sources
    (gone,) = check_collection(manifest).files["image"].missing
    assert (gone.row, gone.id, gone.file) == (59, rows[-2]["id"], f"{photos}/gone.png")


def test_saved_data_sets_of_splits_and_damaged_ones(scenes, tmp_path):
    rows = rows_of(scenes)[:6]
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write_saved(tmp_path / split, rows[:3] if split == "train" else rows[3:])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    items = read_collection(tmp_path).items
    assert [item.split for item in items] == ["train"] * 3 + ["test"] * 3
    assert items[5].sources["image"] == "test/data-00002-of-00003.arrow/image/1"
    assert check_collection(tmp_path).errors == 0
    one = tmp_path / "test"
    (one / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(ManifestError, match=r"data-00001-of-00003\.arrow cannot be read"):
        read_collection(one)
    (one / "state.json").write_text('{"_data_files": [], "_indices_files": [{"filename": "i"}]}')
    with pytest.raises(ManifestError, match=r"save it again after dataset\.flatten_indices"):
        read_collection(one)
    (one / "state.json").write_text('{"version": 1}')
    with pytest.raises(ManifestError, match="it is not a file of a saved data set"):
        read_collection(one)


def test_the_name_of_a_data_set_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ManifestError, match="hf download --repo-type dataset user/flickr --local-dir"
    ):
        read_collection("user/flickr")
    Path("user").mkdir()
    with pytest.raises(ManifestError, match=r"give a manifest file or its folder$"):
        read_collection("user/flickr")
