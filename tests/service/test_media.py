"""A sample of the items, and their original images: what is shown, and what never is."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from proxyhash.data.contained import read_contained
from proxyhash.errors import UsageError
from proxyhash.index import open_index
from proxyhash.service.originals import Originals, image_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from tests.service.conftest import Built


def test_a_sample_is_of_different_items_that_can_be_seen(client: TestClient, built: Built) -> None:
    answer = client.get("/v1/sample", params={"count": 30}).json()
    assert answer["target"] == "image"
    ids = [item["id"] for item in answer["items"]]
    assert len(set(ids)) == len(ids) == 30
    stored = {item.id: item for item in built.collection.items}
    for item in answer["items"]:
        assert item["payload"]["text"] == stored[item["id"]].sources["text"]
        assert "image" not in item["payload"]  # a path of the server
        assert client.get(item["thumbnail"]).headers["content-type"] == "image/jpeg"
    again = client.get("/v1/sample", params={"count": 30}).json()
    assert again == answer
    other = client.get("/v1/sample", params={"count": 30, "seed": 1}).json()
    assert [item["id"] for item in other["items"]] != ids
    for wrong in ({"count": 0}, {"count": 97}, {"seed": -1}, {"count": "x"}):
        assert client.get("/v1/sample", params=wrong).status_code == 422


def test_without_thumbnails_the_sample_is_of_texts_and_an_empty_index_has_none(
    serve: Callable[..., TestClient], index_copy: Path
) -> None:
    (index_copy / "thumbnails.sqlite3").unlink()
    answer = serve(index=str(index_copy)).get("/v1/sample").json()
    assert answer["target"] == "text"
    assert len(answer["items"]) == 24
    assert {item["thumbnail"] for item in answer["items"]} == {None}
    with open_index(index_copy, write=True) as index:
        index.delete([item.id for batch in index.items() for item in batch])
    assert serve(index=str(index_copy)).get("/v1/sample").json()["items"] == []


def test_an_explanation_counts_ties_and_leaves_out_the_item_that_asks(client: TestClient) -> None:
    asked = {"target": "image", "explain": True, "mode": "codes"}
    everything = client.post("/v1/search", json=asked | {"text": "a boat", "k": 200}).json()
    distances = np.array([hit["distance"] for hit in everything["hits"]])
    for k in (1, 3, 12):
        answer = client.post("/v1/search", json=asked | {"text": "a boat", "k": k}).json()
        cut = answer["hits"][-1]["distance"]
        assert answer["explain"]["within"] == (distances <= cut).sum() >= k
    own = everything["hits"][0]["id"]
    for more in ({}, {"filter": {"field": "labels", "contains": "boat"}}):
        answer = client.post("/v1/search", json=asked | {"id": own, "modality": "image"} | more)
        assert sum(answer.json()["explain"]["histogram"]) == answer.json()["searched"]
    assert answer.json()["query"]["payload"]["text"]
    assert everything["query"]["payload"] is None


def test_originals_are_shown_only_where_a_folder_is_given(
    client: TestClient, serve: Callable[..., TestClient], built: Built
) -> None:
    item = next(item for item in built.collection.items if "image" in item.sources)
    address = f"/v1/originals/{item.id}"
    assert client.get("/v1/info").json()["originals"] is False
    assert client.get(address).status_code == 404
    shown = serve(originals=built.collection.root)
    assert shown.get("/v1/info").json()["originals"] is True
    answer = shown.get(address)
    content = (built.collection.root / item.sources["image"]).read_bytes()
    assert answer.content == content
    assert answer.headers["content-type"] == image_type(content[:16])
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    tag = {"If-None-Match": answer.headers["etag"]}
    assert shown.get(address, headers=tag).status_code == 304
    assert shown.get("/v1/originals/nobody").status_code == 404
    small = serve(originals=built.collection.root, limits={"original_bytes": 100})
    assert small.get(address).status_code == 404
    with pytest.raises(UsageError, match="is not a folder; give the one that the image paths"):
        serve(originals=built.collection.root / "nowhere")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image, beside others that are nobody's business."""
    shown = tmp_path / "shown"
    (shown / "deep").mkdir(parents=True)
    image = Image.new("RGB", (4, 3), "red")
    for path in (shown / "a.png", shown / "deep" / "b.png", tmp_path / "secret.png"):
        image.save(path)
    (tmp_path / "shown-not").mkdir()
    image.save(tmp_path / "shown-not" / "c.png")
    return shown


def test_nothing_outside_the_folder_and_nothing_but_images_is_opened(folder: Path) -> None:
    originals = Originals(folder, most_bytes=10_000)
    outside = folder.parent / "secret.png"
    (folder / "out.png").symlink_to(outside)
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "in.png").symlink_to("deep/b.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "page.png").write_text("<!doctype html><script>alert(1)</script>", "utf-8")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', "utf-8")
    (folder / "empty.png").touch()
    (folder / "locked.png").write_bytes((folder / "a.png").read_bytes() + bytes(10_000))
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # such an address has 108 bytes at most
        try:
            listener.bind("socket.png")
        finally:
            os.chdir(here)
        refused: list[Any] = [
            "out.png", "up/secret.png", "loop.png", "page.png", "drawing.svg", "empty.png",
            "locked.png", "pipe.png", "socket.png", "deep", ".", "", "/", "..", "../secret.png",
            "deep/../../secret.png", str(outside), "../shown-not/c.png", "nowhere.png",
            "a.png/b.png", "a\0.png", "a" * 300, "a/" * 3000, "\ud800.png", "/dev/zero",
            "/proc/self/environ", None, 7, ["a.png"], {"path": "a.png"},
        ]  # fmt: skip
        for name in refused:
            assert originals.open(name) is None, name
    for name in (
        "a.png",
        "deep/b.png",
        "deep/../a.png",
        "./a.png",
        "in.png",
        str(folder / "a.png"),
    ):
        found = originals.open(name)
        assert found is not None, name
        assert (found.type, b"".join(found.chunks())[:4]) == ("image/png", b"\x89PNG")
        assert found.file.closed


def test_a_link_put_in_place_of_a_folder_meanwhile_leads_nowhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = Originals(folder, most_bytes=10_000)
    Image.new("RGB", (4, 3), "blue").save(folder.parent / "b.png")
    real = os.path.realpath

    def swap(path: Any) -> str:
        resolved = real(path)
        (folder / "deep" / "b.png").unlink()
        (folder / "deep").rmdir()
        (folder / "deep").symlink_to(folder.parent, target_is_directory=True)
        return resolved

    monkeypatch.setattr("proxyhash.service.originals.os.path.realpath", swap)
    assert originals.open("deep/b.png") is None


def test_images_inside_tar_and_parquet_files_are_shown_and_nothing_else_in_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = (folder / "a.png").read_bytes()
    Image.effect_noise((200, 200), 90).save(folder / "large.png")
    with tarfile.open(folder / "deep" / "1.tar", "w") as tar:
        for name in ("a.png", "large.png"):
            tar.add(folder / name, f"./some/{name}")
        tar.add(Path(__file__), "some/code.png")
    bytes_ = pa.array([{"bytes": png}, {"bytes": b"<svg/>"}])
    pq.write_table(pa.table({"image": bytes_}), folder / "2.parquet")
    shutil.copy(folder / "deep" / "1.tar", folder.parent / "secret.tar")
    (folder / "out.tar").symlink_to(folder.parent / "secret.tar")
    originals = Originals(folder, most_bytes=10_000)
    shown = ["deep/1.tar/some/a.png", "2.parquet/image/1"]
    for name in shown:
        found = originals.open(name)
        assert found is not None, name
        assert (found.type, b"".join(found.chunks())) == ("image/png", png)
        assert found.file.closed
        assert originals.open(name).tag == found.tag
    refused = (
        "deep/1.tar/some/large.png", "deep/1.tar/some/code.png", "deep/1.tar/some/none.png",
        "deep/1.tar/some", "deep/1.tar", "2.parquet/image/2", "2.parquet/image/3", "2.parquet/x/1",
        "a.png/image/1", "out.tar/some/a.png", "../secret.tar/some/a.png",
    )  # fmt: skip
    for name in refused:
        assert originals.open(name) is None, name
    assert len({originals.open(name).tag for name in shown}) == 2

    def swap(path: Path, *, most: int) -> bytes | None:
        (folder / "deep" / "1.tar").unlink()
        (folder / "deep" / "1.tar").symlink_to(folder.parent / "secret.tar")
        return read_contained(path, most=most)

    monkeypatch.setattr("proxyhash.service.originals.read_contained", swap)
    assert originals.open(shown[0]) is None


@pytest.mark.parametrize(
    ("format_", "name"),
    [("JPEG", "jpeg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"), ("AVIF", "avif")],
)
def test_the_type_is_that_of_the_bytes(tmp_path: Path, format_: str, name: str) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.dat", format_)
    assert image_type((tmp_path / "x.dat").read_bytes()[:16]) == f"image/{name}"
    for other in (b"", b"%PDF-1.7", b"<svg ", b"RIFFxxxxWAVE", b"xxxxxxxxWEBP", b"II*\0"):
        assert image_type(other) is None
