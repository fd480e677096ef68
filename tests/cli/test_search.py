"""`proxyhash search`: table, JSON and page of a small trained run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest

from proxyhash.files import read_json
from proxyhash.hashing import HashModel

ONE = "give exactly one of --text, --image, --id, --code, --vector and --input"


def test_a_text_finds_images(proxyhash_command, small_run: Path) -> None:
    result = proxyhash_command("search", small_run, "--text", "a red car", "-k", 5)
    assert result.code == 0
    title, heading, _rule, *rows = result.out.splitlines()
    assert title.startswith("5 nearest of ")
    assert 'images to the text "a red car"' in title
    assert heading.split() == ["id", "distance", "text", "labels"]
    more = proxyhash_command("search", small_run, "--text", "a red car", "-k", 5, "--json")
    tied = more.json["within"] - 5
    assert rows[5:] == ([f"{tied} more are as near as the last"] if tied else [])
    assert len(rows) == 5 + bool(tied)


def test_words_that_the_model_does_not_know_are_named(proxyhash_command, small_run: Path) -> None:
    done = proxyhash_command("search", small_run, "--text", "a red ducc", "-k", 1)
    assert done.code == 0
    assert done.err == "searched for: red; not known: ducc - did you mean duck?\n"


def test_json_is_all_there_is_on_stdout(proxyhash_process, small_run: Path, scenes) -> None:
    image = scenes.sources("image")[0]
    result = proxyhash_process("search", small_run, "--image", image, "-k", 3, "--json")
    assert result.code == 0
    assert result.err == ""
    answer = result.json
    assert answer["target"] == "text"
    assert answer["query"]["image"] == str(image)
    assert [set(hit) for hit in answer["hits"]] == 3 * [
        {"id", "distance", "text", "image", "labels", "setting", "hour"}  # two are the manifest's
    ]
    keys = [(hit["distance"], hit["id"]) for hit in answer["hits"]]
    assert keys == sorted(keys)


@pytest.mark.parametrize(("target", "modality"), [("images", "image"), ("texts", "text")])
def test_either_modality_can_be_found(proxyhash_command, small_run, scenes, target, modality):
    for query in (
        ["--text", "a red car"],
        ["--image", scenes.sources("image")[0]],
        ["--id", "000003"],
    ):
        result = proxyhash_command("search", small_run, *query, "--for", target, "--json")
        assert result.code == 0, result.err
        assert result.json["target"] == modality
        assert len(result.json["hits"]) == 12


def test_the_codes_of_an_item_are_those_of_its_image(proxyhash_command, small_run, scenes):
    by_id = proxyhash_command("search", small_run, "--id", "000003", "--json").json
    image = scenes.sources("image")[3]
    by_image = proxyhash_command("search", small_run, "--image", image, "--json").json
    assert by_id["hits"] == by_image["hits"]


def test_codes_vectors_and_named_modalities_ask_too(
    proxyhash_command, small_run, scenes, tmp_path: Path
) -> None:
    image = scenes.sources("image")[3]
    by_image = proxyhash_command("search", small_run, "--image", image, "--json").json
    code = by_image["query"]["code"]
    by_code = proxyhash_command("search", small_run, "--code", code, "--for", "texts", "--json")
    named = proxyhash_command("search", small_run, "--input", f"image={image}", "--json").json
    model = HashModel.load(small_run / "model")
    np.save(tmp_path / "row.npy", model.encoder("image").encode([image]))
    vector = ["--vector", tmp_path / "row.npy", "--modality", "image"]
    by_vector = proxyhash_command("search", small_run, *vector, "--json").json
    for answer in (by_code.json, named, by_vector):
        assert answer["hits"] == by_image["hits"]
        assert answer["codes"] == by_image["codes"]
    assert by_code.json["query"]["modality"] is None
    assert by_vector["query"]["kind"] == "vector"


def test_a_page_is_written_beside_the_table(proxyhash_command, small_run, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "hits.html"
    result = proxyhash_command("search", small_run, "--id", "000003", "--html", page, "--json")
    assert result.code == 0
    assert result.err == f"wrote {page}\n"
    assert len(result.json["hits"]) == 12
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert f"Search in {small_run.name}" in html


def test_only_the_gallery_is_searched(proxyhash_command, small_run: Path) -> None:
    queries = set(read_json(small_run / "split.json")["query"])
    result = proxyhash_command("search", small_run, "--text", "a red car", "-k", 1000, "--json")
    found = {hit["id"] for hit in result.json["hits"]}
    assert queries
    assert not queries & found
    assert len(found) == result.json["searched"] == 200 - len(queries)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, ONE),
        (["--text", "a", "--id", "b"], 2, ONE),
        (["--text", " "], 2, "the text is empty"),
        (["--text", "xyzzy"], 2, "knows no word of 'xyzzy'"),
        (["--text", "a car", "--for", "image"], 2, "did you mean 'images'?"),
        (["--text", "a car", "-k", "0"], 2, "k is 0; it must be at least 1"),
        (["--image", "nowhere.jpg"], 3, "nowhere.jpg: no such file"),
        (["--id", "nope"], 2, "has no item 'nope'"),
        (["--code", "00f"], 2, "must be hex digits"),
        (["--vector", "nowhere.npy", "--modality", "text"], 3, "nowhere.npy cannot be read"),
        (["--input", "sound=a.wav"], 2, "modality is 'sound'"),
        (["--id", "000003", "--data", "/nowhere"], 3, "/nowhere"),
    ],
)
def test_wrong_queries(proxyhash_command, small_run, arguments, code, message) -> None:
    result = proxyhash_command("search", small_run, *arguments, "--json")
    assert (result.code, result.out) == (code, "")
    assert message in result.err


def test_a_folder_that_is_no_run(proxyhash_command, tmp_path: Path) -> None:
    result = proxyhash_command("search", tmp_path, "--text", "a car")
    assert result.code == 3
    up = f"proxyhash up {shlex.quote(str(tmp_path))}"
    assert f"is not a run folder, nor an index; if these are images, `{up}`" in result.err


def test_a_page_replaces_pages_only_and_streams_into_pipes(
    proxyhash_process, proxyhash_command, small_run: Path, tmp_path: Path
) -> None:
    ask = ("search", small_run, "--id", "000003", "-k", 1, "--html")
    manifest = tmp_path / "items.jsonl"
    manifest.write_text('{"id": "a"}\n')
    refused = proxyhash_command(*ask, manifest)
    assert refused.code == 2
    assert "items.jsonl exists and is not a page of proxyhash" in refused.err
    assert manifest.read_text() == '{"id": "a"}\n'
    assert proxyhash_command(*ask, manifest, "--overwrite").code == 0
    assert proxyhash_command(*ask, manifest).code == 0  # a page now
    assert proxyhash_command(*ask, tmp_path).code == 2
    streamed = proxyhash_process(*ask, "/dev/stdout")
    assert streamed.code == 0
    assert streamed.out.startswith("<!doctype html>")
    assert Path("/dev/null").is_char_device()
    assert proxyhash_command(*ask, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.html")
    done = proxyhash_process(*ask, odd)
    assert done.code == 2
    assert "is not UTF-8; rename the file" in done.err
