"""`proxyhash index` and `search INDEX`: an index is built, changed and looked after."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.catalog.catalog import Catalog
from proxyhash.codes import CodeFile
from proxyhash.files import read_json
from proxyhash.index import open_index
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


@pytest.fixture(scope="module")
def built(small_run: Path, scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index over the 200 scenes; do not write into it."""
    from proxyhash.catalog.build import build_index

    folder = tmp_path_factory.mktemp("indexes") / "scenes.index"
    build_index(small_run, scenes.root, folder, thumbnails=True)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """A copy of the index, to write into."""
    return shutil.copytree(built, tmp_path / "scenes.index")


def hits(result: Any) -> list[tuple[int, str]]:
    assert result.code == 0, result.err
    return [(hit["distance"], hit["id"]) for hit in result.json["hits"]]


def test_build_stores_every_item_and_search_finds_it(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    result = proxyhash_command("index", "build", small_run, scenes.root, "--out", out)
    assert (result.code, result.out.startswith(f"{out}: 200 added, 200 thumbnails (")) == (
        0,
        True,
    ), result.err
    assert Catalog(out).thumbnails
    assert f'next: proxyhash search {out} --text "..."' in result.err
    with Store.open(out) as store:
        assert len(store) == 200
        item = store.get("000003")
        assert item.payload["text"] == scenes.items[3].sources.get("text")
        assert item.payload["labels"] == list(scenes.items[3].labels)
        assert item.payload["image"] == scenes.items[3].sources.get("image")
    assert proxyhash_command("index", "verify", out).out == f"{out}: no problems found\n"


def test_vectors_are_kept_added_and_dropped(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    build = ("index", "build", small_run, scenes.root, "--out", out)
    result = proxyhash_command(*build, "--keep-vectors", "int4")
    assert (result.code, out.exists()) == (2, False)
    assert "vectors is 'int4'; it must be one of float, int8, none" in result.err
    assert proxyhash_command(*build).code == 0
    search = ("search", out, "--id", "000003", "--rerank", "vectors", "-k", 4)
    result = proxyhash_command(*search)
    assert (result.code, result.out) == (2, "")
    assert "keeps no vectors to rank by; `proxyhash index vectors INDEX int8` adds" in result.err
    result = proxyhash_command("index", "vectors", out, "int8", "--json")
    assert result.code == 0, result.err
    bits = Store.open(out).bits
    assert result.json | {"seconds": 0, "index": ""} == {
        "index": "", "vectors": "int8", "items": 200, "encoded": 200, "unknown": 0,
        "bytes": bits, "seconds": 0,
    }  # fmt: skip
    found = proxyhash_command(*search, "--json").json["hits"]
    order = [(hit["vector_distance"], hit["id"]) for hit in found]
    assert len(order) == 4
    assert order == sorted(order)
    table = proxyhash_command(*search).out
    assert f"{order[0][0]:.2f}" in table
    assert "vectors" in table
    assert "int8" in proxyhash_command("index", "info", out).out
    assert "no problems found" in proxyhash_command("index", "verify", out).out
    result = proxyhash_command("index", "vectors", out, "none")
    assert "200 items, 0 encoded; keeps codes alone" in result.out
    assert proxyhash_command(*search).code == 2


def test_the_gallery_s_index_answers_as_the_run_does(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path
) -> None:
    out = tmp_path / "gallery.index"
    build = ["index", "build", small_run, scenes.root, "--out", out, "--gallery-only", "--json"]
    build.append("--no-thumbnails")
    result = proxyhash_command(*build)
    assert result.code == 0, result.err
    assert result.json | {"seconds": 0} == {
        "index": str(out),
        "added": 180,
        "replaced": 0,
        "unchanged": 0,
        "without_code": 0,
        "thumbnails": 0,
        "kept": 0,
        "incomplete": 0,
        "skipped": 0,
        "thumbnail_bytes": 0,
        "seconds": 0,
    }
    for query in (
        ["--text", "a red car"],
        ["--image", scenes.sources("image")[0]],
        ["--id", "000003"],
    ):
        for options in (["-k", 20], ["--for", "texts"], ["--radius", 5, "--where", "text != x"]):
            arguments = [*query, *options, "--mode", "codes", "--json"]
            if query[0] == "--id" and read_json(small_run / "split.json")["query"].count("000003"):
                continue
            from_index = proxyhash_command("search", out, *arguments)
            assert hits(from_index) == hits(proxyhash_command("search", small_run, *arguments))


def test_conditions_narrow_the_answer(proxyhash_command, built: Path, scenes) -> None:
    label = scenes.classes[0]
    condition = f'labels contains "{label}" and not id = 3'
    search = ["search", built, "--text", "a red car", "--where", condition]
    result = proxyhash_command(*search, "-k", 500, "--json")
    wanted = {item.id for item in scenes.items if label in item.labels}
    assert {id_ for _, id_ in hits(result)} == wanted
    asked = json.dumps({"field": "labels", "contains": label})
    search = ["search", built, "--text", "a red car", "--where", asked]
    assert {id_ for _, id_ in hits(proxyhash_command(*search, "-k", 500, "--json"))} == wanted
    result = proxyhash_command("search", built, "--text", "car", "--where", "labels contians x")
    assert result.code == 2
    assert "filter, column 8: found 'contians', expected one of =" in result.err
    assert "\n  labels contians x\n         ^" in result.err


def test_a_page_of_hits_has_the_stored_thumbnails(
    proxyhash_command, built: Path, tmp_path: Path
) -> None:
    page = tmp_path / "hits.html"
    result = proxyhash_command("search", built, "--text", "a red car", "-k", 5, "--html", page)
    assert result.code == 0
    assert result.out.startswith("5 nearest of 200 images to the text")
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 5


def test_add_replaces_and_leaves_alone(
    proxyhash_command, index: Path, scenes, tmp_path: Path
) -> None:
    lines = [
        {"id": "000003", "image": str(scenes.sources("image")[3]), "text": "a red car", "price": 7},
        {"id": "new", "text": "a red car"},
        {"id": "nothing"},
    ]
    manifest = tmp_path / "more.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = proxyhash_command("index", "add", index, manifest)
    assert result.code == 0, result.err
    assert "1 added, 1 replaced, 1 without a code, 1 thumbnails (" in result.out
    result = proxyhash_command("index", "add", index, manifest, "--json")
    assert (result.json["unchanged"], result.json["added"]) == (2, 0)
    found = proxyhash_command("search", index, "--id", "new", "--where", "price = 7", "--json")
    assert [id_ for _, id_ in hits(found)] == ["000003"]


def test_delete_takes_ids_and_files(proxyhash_command, index: Path, tmp_path: Path) -> None:
    result = proxyhash_command("index", "delete", index, "000001", "000001", "nope")
    assert (result.code, result.out) == (0, f"{index}: 1 deleted; 1 not found\n")
    (tmp_path / "ids.txt").write_text("000002\n\n000003\r\n")
    delete = ["index", "delete", index, "--ids-from", tmp_path / "ids.txt", "--json"]
    assert proxyhash_command(*delete).json == {"index": str(index), "ids": 2, "deleted": 2}
    described = proxyhash_command("index", "info", index, "--json").json
    assert (described["items"], described["thumbnails"]) == (197, 197)
    assert proxyhash_command("search", index, "--id", "000001").code == 2
    assert proxyhash_command("index", "delete", index).code == 2
    missing = proxyhash_command("index", "delete", index, "--ids-from", tmp_path / "no.txt")
    assert (missing.code, "no.txt cannot be read" in missing.err) == (2, True)


def test_ids_come_from_standard_input(proxyhash_command, index: Path, monkeypatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("000001\n000002\n"))
    assert proxyhash_command("index", "delete", index, "--ids-from", "-").code == 0
    with Store.open(index) as store:
        assert len(store) == 198


def test_compact_gives_room_back(proxyhash_command, index: Path) -> None:
    ids = [f"{row:06}" for row in range(150)]
    assert proxyhash_command("index", "delete", index, *ids).code == 0
    result = proxyhash_command("index", "compact", index, "--json")
    assert result.code == 0, result.err
    assert result.json["bytes"] < result.json["bytes_before"]
    assert proxyhash_command("index", "compact", index).out.startswith(f"{index}: ")
    assert proxyhash_command("index", "verify", index, "--json").json["problems"] == []
    assert len(hits(proxyhash_command("search", index, "--id", "000160", "-k", 99, "--json"))) == 50


@pytest.mark.parametrize("verb", ["snapshot", "copy"])
def test_a_copy_is_an_index_of_its_own(proxyhash_command, index: Path, tmp_path, verb) -> None:
    target = tmp_path / "elsewhere" / "copy.index"
    result = proxyhash_command("index", verb, index, target)
    assert result.code == 0, result.err
    assert str(target) in result.out
    assert proxyhash_command("index", verb, index, target).code == 2  # it is taken
    inside = proxyhash_command("index", verb, index, index / "copy")
    assert inside.code == 2
    assert "is inside the index" in inside.err
    assert not (index / "copy").exists()
    other = tmp_path / "other.index"
    assert proxyhash_command("index", verb, index, other, "--json").code == 0
    search = ["--text", "a red car", "--json"]
    wanted = hits(proxyhash_command("search", index, *search))
    shutil.rmtree(index)
    assert hits(proxyhash_command("search", target, *search)) == wanted
    assert proxyhash_command("index", "verify", target).code == 0
    assert proxyhash_command("index", "info", target, "--json").json["thumbnails"] == 200


def test_what_is_readable_of_a_damaged_index_can_be_saved(
    proxyhash_command, index: Path, tmp_path: Path
) -> None:
    (index / "header.json").write_bytes(b"")
    (database,) = index.glob("generation-*/items.sqlite")
    content = database.read_bytes()
    place = content.rindex(b"000007")
    database.write_bytes(content[:place] + b"00000!" + content[place + 6 :])
    refused = proxyhash_command("index", "snapshot", index, tmp_path / "copy")
    assert refused.code == 3
    assert "`proxyhash index snapshot INDEX ANOTHER --salvage`" in refused.err
    saved = proxyhash_command("index", "snapshot", index, tmp_path / "copy", "--salvage", "--json")
    assert saved.code == 0, saved.err
    assert (saved.json["items"], saved.json["lost"]) == (199, 1)
    assert proxyhash_command("index", "verify", tmp_path / "copy").code == 0
    more = proxyhash_command("index", "snapshot", index, tmp_path / "more", "--salvage")
    assert "199 items copied" in more.out
    assert "1 could not be read" in more.out
    (index / "thumbnails.sqlite3").write_bytes(b"no database")
    bare = proxyhash_command("index", "snapshot", index, tmp_path / "bare", "--salvage")
    assert bare.code == 0
    assert "thumbnails.sqlite3 is damaged" in bare.err
    assert proxyhash_command("index", "verify", tmp_path / "bare").code == 0
    missing = proxyhash_command("index", "snapshot", tmp_path / "no", tmp_path / "x", "--salvage")
    assert missing.code == 3
    assert str(tmp_path / "no") in missing.err


def test_info_is_a_table_and_json(proxyhash_command, built: Path) -> None:
    described = proxyhash_command("index", "info", built, "--json").json
    assert described["items"] == described["modalities"]["image"] == described["thumbnails"] == 200
    assert (described["bits"], described["model_copy"], described["kind"]) == (16, True, "store")
    out = proxyhash_command("index", "info", built).out
    assert "image 200, text 200" in out
    assert re.search("model copy +yes", out)


def test_verify_finds_damage_in_every_part(proxyhash_command, index: Path) -> None:
    (codes,) = index.glob("generation-*/image.codes")
    flip(codes, codes.stat().st_size // 2)
    flip(index / "model" / "networks.safetensors", 5000)
    (index / "thumbnails.sqlite3").write_bytes(b"no database")
    result = proxyhash_command("index", "verify", index, "--json")
    assert result.code == 3
    problems = "\n".join(result.json["problems"])
    for part in ("image.codes", "model", "thumbnails.sqlite3"):
        assert part in problems
    assert "problems, listed above" in result.err
    assert proxyhash_command("index", "verify", index).code == 3


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_an_index_without_a_model(proxyhash_command, small_run: Path, scenes, tmp_path) -> None:
    out = tmp_path / "bare.index"
    build = ["index", "build", small_run / "model", scenes.root, "--out", out, "--no-model-copy"]
    assert proxyhash_command(*build).code == 0
    assert hits(proxyhash_command("search", out, "--id", "000003", "--json"))
    result = proxyhash_command("search", out, "--text", "a red car")
    assert (result.code, "--model RUN" in result.err) == (2, True)
    assert proxyhash_command("index", "add", out, scenes.root).code == 2
    with_model = ["--text", "a red car", "--model", small_run, "--json"]
    assert hits(proxyhash_command("search", out, *with_model))
    result = proxyhash_command("index", "add", out, scenes.root, "--model", small_run, "--json")
    assert result.json["unchanged"] == 200
    assert hits(proxyhash_command("search", out, "--text", "a red car", "--json"))


def test_ctrl_c_keeps_what_is_stored_and_says_how_to_go_on(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "x.index"
    build = ["index", "build", small_run, scenes.root, "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr("proxyhash.catalog.ingest.put_codes", interrupt)
        result = proxyhash_command(*build)
    assert result.code == 130
    assert "0 of 200 items are stored: `proxyhash index add`" in result.err
    result = proxyhash_command(*build)
    assert (result.code, f"index add {out} {scenes.root}" in result.err) == (2, True)
    assert proxyhash_command("index", "add", out, scenes.root, "--json").json["added"] == 200
    with monkeypatch.context() as patch:
        patch.setattr("proxyhash.catalog.manage.copy_between", interrupt)
        result = proxyhash_command("index", "copy", out, tmp_path / "y.index")
    assert (result.code, "the same command again" in result.err) == (130, True)


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_second_writer_is_refused(proxyhash_process, index: Path) -> None:
    with Store.open(index, write=True):
        result = proxyhash_process("index", "delete", index, "000001")
        assert (result.code, "one writer at a time" in result.err) == (1, True)
        assert hits(proxyhash_process("search", index, "--id", "000001", "--json"))


def test_a_image_that_cannot_be_read(proxyhash_command, index: Path, tmp_path: Path) -> None:
    lines = [{"id": "bad", "image": "gone.jpg", "text": "a red car"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = proxyhash_command("index", "add", index, tmp_path / "items.jsonl")
    assert (result.code, "gone.jpg" in result.err) == (3, True)
    skip = ["index", "add", index, tmp_path / "items.jsonl", "--on-bad-item", "skip", "--json"]
    assert proxyhash_command(*skip).json["added"] == 1
    with Store.open(index) as store:
        assert set(store.get("bad").codes) == {"text"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "info", "{tmp}/nowhere"], 3, "nowhere"),
        (["index", "verify", "{tmp}"], 2, "is not an index folder; `index verify`"),
        (["search", "{tmp}/no.index", "--text", "x"], 3, "does not exist; give an index folder"),
        (["serve", "{tmp}/no.index"], 3, "no.index does not exist; `proxyhash index build`"),
        (["index", "compact", "http://localhost:1"], 2, "is not an index folder"),
        (["index", "add", "{tmp}", "{scenes}"], 3, "index folder: it has no header.json"),
        (["index", "add", "{index}", "{tmp}/nowhere"], 3, "does not exist"),
        (["index", "add", "x.db", "{scenes}", "--thumbnails"], 2, "cannot store thumbnails"),
        (["index", "build", "{tmp}", "{scenes}", "--out", "{tmp}/x"], 3, "holds no trained model"),
        (["index", "build", "{run}/model", "{scenes}", "--out", "{tmp}/x", "--gallery-only"], 3,
         "has no split.json"),
        (["index", "build", "{run}", "{scenes}", "--out", "{scenes}"], 2, "not empty"),
        (["index", "copy", "{index}", "{index}"], 2, "source and target are both"),
        (["search", "{index}", "--id", "x", "--data", "y"], 2, "--data is for runs"),
        (["search", "{run}", "--id", "x", "--model", "y"], 2, "--model is for indexes"),
        (["search", "{tmp}/nowhere", "--id", "x"], 3, "nowhere does not exist"),
        (["search", "{index}", "--id", "x", "--radius", "-1"], 2, "radius"),
        (["search", "{index}", "--image", "{tmp}/nowhere.jpg"], 3, "no such file"),
    ],
)  # fmt: skip
def test_wrong_usage(
    proxyhash_command, built: Path, small_run, scenes, tmp_path, arguments, code, message
) -> None:
    places = {"tmp": tmp_path, "index": built, "run": small_run, "scenes": scenes.root}
    result = proxyhash_command(*(each.format(**places) for each in arguments))
    assert (result.code, result.out) == (code, ""), result.err
    assert message in result.err


def test_a_model_that_is_another_or_missing(
    proxyhash_command, index: Path, small_run: Path, scenes, tmp_path
) -> None:
    from proxyhash.hashing import HashModel

    model = HashModel.load(index / "model")
    for parameter in model.networks["image"].parameters():
        parameter.data.add_(0.5)
    model.save(tmp_path / "other")
    for command in (
        ["index", "add", index, scenes.root],
        ["search", index, "--image", scenes.sources("image")[0]],
    ):
        result = proxyhash_command(*command, "--model", tmp_path / "other")
        assert (result.code, "is not the model that made the codes" in result.err) == (3, True)
    shutil.rmtree(index / "model")
    shutil.copytree(tmp_path / "other", index / "model")
    problems = proxyhash_command("index", "verify", index, "--json").json["problems"]
    assert problems == [f"{index / 'model'} is not the model that made the codes"]
    (index / "thumbnails.sqlite3").unlink()
    shutil.rmtree(index / "model")
    assert proxyhash_command("index", "delete", index, "000001").code == 0
    assert proxyhash_command("index", "compact", index).code == 0
    assert proxyhash_command("index", "snapshot", index, tmp_path / "bare").code == 0
    assert proxyhash_command("index", "verify", tmp_path / "bare").code == 0
    add = ["index", "add", index, scenes.root, "--model", small_run, "--thumbnails", "--json"]
    assert proxyhash_command(*add).json["thumbnails"] == 200


def test_thumbnails_hold_nothing_but_small_jpegs(built: Path) -> None:
    with sqlite3.connect(built / "thumbnails.sqlite3") as connection:
        rows = connection.execute("SELECT id, jpeg FROM thumbnails").fetchall()
    connection.close()
    assert len(rows) == 200
    assert all(jpeg.startswith(b"\xff\xd8") and len(jpeg) < 50_000 for _, jpeg in rows)
    assert not any(b"Exif" in jpeg for _, jpeg in rows)


def test_features_that_belong_to_a_manifest_are_found_by_place(
    proxyhash_command, scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on precomputed image features, which are encoded and stored batch by batch."""
    import numpy as np

    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    features = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    values = {"query": 20, "train": 100, "validation": 20, "hidden": [8], "epochs": 1, "threads": 1}
    run, out = tmp_path / "run", tmp_path / "x.index"
    sources = {"image_encoder": f"features:{tmp_path / 'f.npy'}", "bits": 8}
    train(read_config({"data": str(scenes.root), "out": str(run), **sources, **values}))
    monkeypatch.setattr("proxyhash.catalog.ingest.BATCH", 64)
    build = ["index", "build", run, scenes.root, "--out", out, "--json"]
    assert proxyhash_command(*build).json["added"] == 200
    wanted = CodeFile.load(run / "codes.npz")
    with open_index(str(out)) as index:
        found = index.get_many(wanted.ids)
    for row, id_ in enumerate(wanted.ids):
        assert (found[id_].codes["image"] == wanted.of("image")[row]).all()
    for query in (["--id", "000003"], ["--text", "a red car"]):
        assert hits(proxyhash_command("search", out, *query, "--json"))


@pytest.mark.parametrize("by_id", [True, False])
def test_features_of_another_manifest_are_refused_before_anything_is_written(
    by_id, proxyhash_command, scenes, tmp_path: Path
) -> None:
    """None of the ids is an item, or the numbers of rows differ; the next step is named."""
    import numpy as np

    from proxyhash.encoders import PrecomputedFeatures
    from proxyhash.hashing import HashModel
    from proxyhash.networks import HashingNetwork

    values = np.random.default_rng(0).normal(size=(201, 8)).astype(np.float32)
    named = {"ids": np.array([f"other-{row}" for row in range(201)])} if by_id else {}
    np.savez(tmp_path / "f.npz", x=values, **named)
    encoder = PrecomputedFeatures.from_file(tmp_path / "f.npz", modality="image")
    model = HashModel(
        bits=8,
        classes=[],
        method="dchml",
        networks={"image": HashingNetwork(8, 8)},
        encoders={"image": encoder},
    )
    model.save(tmp_path / "model")
    ids = r"none of its 201 ids is an item of .*'other-0', the manifest's '000000'; write `ids` as"
    rows = r"has 201 rows, but .* has 200 items; give one row per item in the manifest's order"
    for verb in (["encode"], ["index", "build"]):
        out = tmp_path / verb[-1]
        done = proxyhash_command(*verb, tmp_path / "model", scenes.root, "--out", out)
        assert done.code != 0
        assert re.search(ids if by_id else rows, done.err)
        assert str(tmp_path / "f.npz") in done.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "model"]


def test_verify_finds_a_damaged_encoder(proxyhash_command, index: Path) -> None:
    files = sorted((index / "model").glob("*_encoder/*"))
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        result = proxyhash_command("index", "verify", index, "--json")
        assert result.code == 3, file
        assert file.parent.name in "".join(result.json["problems"])
        file.write_bytes(content)
    assert proxyhash_command("index", "verify", index).code == 0


def test_an_encoder_that_cannot_be_loaded_here_is_not_damaged(
    proxyhash_command, built: Path, monkeypatch
) -> None:
    from proxyhash.errors import MissingExtraError
    from proxyhash.hashing import HashModel

    def missing(*_: Any) -> None:
        raise MissingExtraError("this encoder needs transformers")

    monkeypatch.setattr(HashModel, "encoder", missing)
    assert proxyhash_command("index", "verify", built, "--json").json["problems"] == []


def test_a_snapshot_takes_no_place_of_a_pipe_or_device(
    proxyhash_command, index: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = proxyhash_command("index", "snapshot", index, tmp_path / "pipe")
    assert result.code == 2
    assert "pipe exists and is not empty" in result.err
    assert (tmp_path / "pipe").is_fifo()


def test_a_snapshot_that_fails_leaves_its_place_free(
    proxyhash_command, index: Path, tmp_path: Path, monkeypatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "model")

    with monkeypatch.context() as patch:
        patch.setattr("proxyhash.catalog.catalog._copy_files", fail)
        assert proxyhash_command("index", "snapshot", index, tmp_path / "copy").code == 1
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.iterdir()] == [index.name]
    assert proxyhash_command("index", "snapshot", index, tmp_path / "copy").code == 0
    assert proxyhash_command("index", "verify", tmp_path / "copy").code == 0


def test_a_snapshot_beside_a_writer_loses_nothing(index: Path, tmp_path: Path) -> None:
    import threading

    import numpy as np

    from proxyhash.catalog.manage import snapshot_index

    stop = threading.Event()

    def write() -> None:
        with Store.open(index, write=True) as store:
            code, row = store.get("000001").codes, 0
            while not stop.is_set():
                ids = [f"new{row + each}" for each in range(100)]
                store.upsert(ids, {name: np.stack([one] * 100) for name, one in code.items()})
                row += 100

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = [snapshot_index(str(index), tmp_path / f"copy-{turn}") for turn in range(3)]
    finally:
        stop.set()
        thread.join()
    assert [(report.lost, report.problem) for report in reports] == [(0, "")] * 3
    assert [report.items for report in reports] == sorted(report.items for report in reports)
    assert reports[-1].items > 200


def test_upkeep_of_a_folder_that_is_not_there_says_so(tmp_path) -> None:
    from proxyhash.catalog.manage import compact_index, verify_index
    from proxyhash.errors import UsageError

    for upkeep in (verify_index, compact_index):
        with pytest.raises(UsageError, match="none does not exist; give an index folder"):
            upkeep(str(tmp_path / "none"))
        with pytest.raises(UsageError, match="is not an index folder"):
            upkeep(str(tmp_path))


def test_words_are_indexed_by_a_command_and_searched(proxyhash_command, index: Path) -> None:
    for path in index.glob("generation-*/words-*"):
        path.unlink()
    assert proxyhash_command("search", index, "--text", "a duck", "--json").json["mode"] == "codes"
    refused = proxyhash_command("search", index, "--text", "a duck", "--mode", "words")
    assert (refused.code, refused.out) == (2, "")
    assert f"`proxyhash index words {index}` makes one" in refused.err
    done = proxyhash_command("index", "words", index, "--field", "text", "--field", "labels")
    assert (done.code, done.out) == (0, f"{index}: the words of 200 items are indexed\n")
    assert proxyhash_command("index", "words", index, "--json").json == {
        "index": str(index),
        "items": 200,
        "fields": None,
    }
    text = Store.open(index).get("000003").payload["text"]
    found = proxyhash_command("search", index, "--text", text, "--mode", "words", "-k", 1)
    assert found.code == 0, found.err
    assert "1 with these words among 200 images for the text" in found.out
    assert "words found" in found.out
    both = proxyhash_command("search", index, "--text", f'"{text}" zz*', "--json").json
    matched = {hit["id"]: hit["matched"] for hit in both["hits"]}
    assert (both["mode"], matched["000003"] != []) == ("both", True)
    info = proxyhash_command("index", "info", index, "--json").json
    assert info["words"] is True
    wrong = proxyhash_command("search", index, "--text", "x", "--words-weight", "2")
    assert (wrong.code, "words_weight is 2.0; it must be from 0 to 1" in wrong.err) == (2, True)
    (path,) = index.glob("generation-*/words-*.sqlite")
    path.write_bytes(b"x" * 9999)
    broken = proxyhash_command("index", "verify", index)
    assert broken.code == 3
    assert "index words" in broken.out
    answer = proxyhash_command("search", index, "--text", "a duck", "--json")
    assert answer.json["mode"] == "codes"
    assert "the word index cannot be read" in answer.err
    assert proxyhash_command("search", index, "--text", "a", "--mode", "both").code == 3


def test_build_can_leave_words_out(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path
) -> None:
    out = tmp_path / "x.index"
    options = ("--out", out, "--no-words", "--no-thumbnails")
    assert proxyhash_command("index", "build", small_run, scenes.root, *options).code == 0
    assert not list(out.glob("generation-*/words-*"))
