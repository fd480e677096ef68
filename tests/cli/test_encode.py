"""`proxyhash encode`: a code file over any manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import CodeFile

if TYPE_CHECKING:
    from pathlib import Path


def test_the_run_s_own_collection_gives_the_run_s_codes(
    proxyhash_command, small_run: Path, scenes, tmp_path: Path
) -> None:
    out = tmp_path / "codes.npz"
    result = proxyhash_command("encode", small_run, scenes.root, "--out", out)
    assert result.code == 0, result.err
    assert result.out.startswith("200 items, 200 images and 200 texts, 16 bits each: ")
    ours, runs = CodeFile.load(out), CodeFile.load(small_run / "codes.npz")
    assert ours.ids == runs.ids
    assert ours.model == runs.model
    assert (ours.of("image") == runs.of("image")).all()
    assert (ours.of("text") == runs.of("text")).all()


def test_a_manifest_of_other_items(proxyhash_command, small_run, scenes, tmp_path: Path) -> None:
    items = [
        {"id": "both", "image": str(scenes.sources("image")[0]), "text": "a red car"},
        {"id": "words", "text": "a red car"},
        {"id": "image", "image": str(scenes.sources("image")[0])},
        {"id": "nothing"},
    ]
    manifest = tmp_path / "items.jsonl"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items))
    out = tmp_path / "codes.npz"
    result = proxyhash_command("encode", small_run / "model", manifest, "--out", out, "--json")
    assert result.code == 0, result.err
    assert result.json | {"seconds": 0} == {
        "out": str(out),
        "items": 4,
        "images": 2,
        "texts": 2,
        "kept": 0,
        "unreadable": 0,
        "skipped": 0,
        "resumed": 0,
        "bits": 16,
        "model": CodeFile.load(small_run / "codes.npz").model,
        "seconds": 0,
    }
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == ["both", "words", "image", "nothing"]
        assert arrays["has_image"].tolist() == [True, False, True, False]
        assert arrays["has_text"].tolist() == [True, True, False, False]
        assert arrays["image_codes"].shape == (4, 2)
        assert (arrays["image_codes"][0] == arrays["image_codes"][2]).all()
        assert (arrays["text_codes"][0] == arrays["text_codes"][1]).all()
        assert not arrays["image_codes"][[1, 3]].any()


def test_a_image_that_cannot_be_read(proxyhash_command, small_run, scenes, tmp_path) -> None:
    items = [{"id": "a", "image": "gone.jpg", "text": "x"}, {"id": "b", "text": "a red car"}]
    manifest = tmp_path / "items.jsonl"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items))
    out = tmp_path / "codes.npz"
    result = proxyhash_command("encode", small_run, manifest, "--out", out)
    assert result.code == 3
    assert "row 1" in result.err
    assert "gone.jpg" in result.err
    assert not out.exists()
    skipped = ["encode", small_run, manifest, "--out", out, "--on-bad-item", "skip", "--json"]
    result = proxyhash_command(*skipped)
    assert result.code == 0
    assert (result.json["images"], result.json["unreadable"], result.json["skipped"]) == (0, 1, 0)
    assert "gone.jpg" in result.err
    assert CodeFile.load(out).missed("image").tolist() == [True, False]  # not the same as none


def test_codes_are_kept_while_images_are_away(
    proxyhash_command, small_run, scenes, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(scenes.sources("image")[0].read_bytes())
    items = [{"id": "a", "image": "a.png", "text": "x"}, {"id": "b", "image": "b.png"}]
    manifest = tmp_path / "items.jsonl"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items))
    out = tmp_path / "codes.npz"
    encode = ["encode", small_run, manifest, "--out", out, "--on-bad-item", "skip"]
    result = proxyhash_command(*encode)
    assert (result.code, "1 item of" in result.err) == (3, True)  # of "b", nothing is there
    before = CodeFile.load(out)
    image.unlink()
    result = proxyhash_command(*encode)
    assert "2 could not be read; 1 kept from" in result.err
    after = CodeFile.load(out)
    assert after.has("image").tolist() == [True, False]
    assert after.missed("image").tolist() == [False, True]
    assert (after.of("image") == before.of("image")).all()


def test_wrong_usage(proxyhash_command, small_run: Path, scenes, tmp_path: Path) -> None:
    assert proxyhash_command("encode", small_run, scenes.root).code == 2  # no --out
    result = proxyhash_command("encode", tmp_path, scenes.root, "--out", tmp_path / "c.npz")
    assert result.code == 3
    assert "holds no trained model" in result.err
    result = proxyhash_command("encode", small_run, tmp_path / "no", "--out", tmp_path / "c.npz")
    assert result.code == 3
    bad = ["--out", tmp_path / "c.npz", "--on-bad-item", "ignore"]
    assert proxyhash_command("encode", small_run, scenes.root, *bad).code == 2
