"""The demo's folder: what it takes, keeps and leaves alone; and the whole job, small."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from proxyhash import __version__
from proxyhash.demo import DEMO_TEXT, DemoFolder, index_demo, run_demo
from proxyhash.errors import UsageError
from proxyhash.files import read_json, write_json, write_text
from proxyhash.search import open_searcher
from tests.encoders import tiny_models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import FinishedDemo

RECIPE = {"items": 200, "seed": 0, "version": __version__}


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        demo = DemoFolder(folder)
        demo.claim()
        assert demo.marker.is_file()
        demo.claim()


@pytest.mark.parametrize("name", ["precious.txt", "images/items.jsonl", "run/config.json"])
def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "precious")
    with pytest.raises(UsageError, match="was not made by the demo, so it is not changed"):
        run_demo(tmp_path, items=200)
    assert (tmp_path / name).read_text() == "precious"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="not changed"):
        run_demo(tmp_path / "file", items=200)


def test_too_few_items_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="items is 50; the demo needs at least 200"):
        run_demo(tmp_path / "demo", items=50)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ({"images": RECIPE}, True),
        ({"images": RECIPE | {"seed": 1}}, False),
        ({"images": RECIPE | {"version": "0.0.0"}}, False),
        ({"images": None}, False),
        ([], False),
    ],
)
def test_images_are_used_again_only_when_they_are_the_same(tmp_path, marker, expected) -> None:
    demo = DemoFolder(tmp_path)
    write_json(demo.marker, marker)
    assert not demo.holds(RECIPE)  # no images yet
    write_text(demo.images / "items.jsonl", "")
    assert demo.holds(RECIPE) is expected


def test_a_damaged_marker_draws_the_images_anew(tmp_path: Path) -> None:
    demo = DemoFolder(tmp_path)
    write_text(demo.marker, "{")
    assert not demo.holds(RECIPE)


@pytest.mark.slow
def test_the_job_without_labels(tmp_path: Path) -> None:
    told: list[str] = []
    done = run_demo(tmp_path / "demo", items=200, labels="none", note=told.append)
    assert any("200 pairs of image and text, no labels" in each for each in told)
    assert not done.collection.classes
    assert done.collection.path == done.folder.captions
    assert all(value is None for value in done.run.metrics["map"].values())
    for each in done.run.metrics["pairs"]["directions"].values():
        assert each["median_rank"] < 7  # chance: 10.5 of 20
    assert "own text among the first 10" in done.folder.page.read_text(encoding="utf-8")
    index = index_demo(done.folder)
    with open_searcher(index) as searcher:
        hits = searcher.search_text(DEMO_TEXT, k=3).hits
    assert len(hits) == 3
    with pytest.raises(UsageError, match="leave out --tune, or --labels none"):
        run_demo(tmp_path / "demo", items=200, labels="none", tune="image")


@pytest.mark.slow
def test_the_whole_job(finished_demo: FinishedDemo) -> None:
    done = finished_demo.result
    assert len(done.collection) == 200
    assert not done.reused
    assert done.run.epochs == len(finished_demo.records)
    assert finished_demo.notes[0] == "generating 200 images with captions and labels"
    text, image = done.answers
    assert (text.query.text, text.target, len(text.hits)) == (DEMO_TEXT, "image", 12)
    assert (image.target, len(image.hits)) == ("text", 6)
    page = done.folder.page.read_text(encoding="utf-8")
    assert page.count("<img ") == 12 + 1 + 6
    assert f"{done.run.metrics['map']['image_to_text']:.3f}" in page
    assert read_json(done.folder.marker)["images"] == RECIPE
    json.dumps(done.run.metrics)


@pytest.mark.slow
def test_the_same_again_where_the_images_are_there(
    finished_demo: FinishedDemo, tmp_path: Path
) -> None:
    done = finished_demo.result
    shutil.copytree(done.folder.path, tmp_path / "demo")
    before = tmp_path / "demo" / done.folder.images.name / "images" / "000000.jpg"
    stamp = before.stat().st_mtime_ns
    again = run_demo(tmp_path / "demo", items=200)
    assert again.reused
    assert before.stat().st_mtime_ns == stamp
    assert again.run.metrics["map"] == done.run.metrics["map"]
    assert [hit.id for hit in again.answers[0].hits] == [hit.id for hit in done.answers[0].hits]


@pytest.mark.slow
def test_a_pretrained_encoder_is_tuned_beside_itself_frozen(
    finished_demo: FinishedDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.save_mobilenet(tmp_path / "models" / "mobilenet_v2_1.0_224")
    monkeypatch.setenv("PROXYHASH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "demo"
    shutil.copytree(finished_demo.result.folder.images, folder / "images")
    shutil.copy(finished_demo.result.folder.marker, folder)
    notes: list[str] = []
    done = run_demo(folder, items=200, tune="image", note=notes.append)
    assert done.reused
    assert [note.partition("mobilenet_v2_1.0_224")[2] for note in notes[1:3]] == [
        ", frozen",
        " with it",
    ]
    assert done.frozen is not None
    assert done.frozen.metrics["training"]["tuned"] == {}
    assert done.run.metrics["training"]["tuned"]["image"]["image_size"] == 96
    fingerprints = [
        read_json(run / "model" / "model.json")["encoders"]["image"]
        for run in (folder / "frozen", folder / "run")
    ]
    assert fingerprints[0] != fingerprints[1]
