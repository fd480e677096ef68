"""The steps from a folder to a page, as they are planned from what is there already."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from proxyhash.errors import UsageError
from proxyhash.index.store import Store
from proxyhash.up import Workplace, free_port


def commands(work: Workplace, **options: object) -> list[str]:
    given = {"serve": True, "port": 8080, "open_page": False} | options
    return [str(step) for step in work.steps(**given)]  # type: ignore[arg-type]


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    (tmp_path / "my photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "my photos" / "a.jpg")
    work = Workplace(
        tmp_path / "my photos", tmp_path / "work", {"bits": 32, "image_encoder": "m/x"}
    )
    work.claim()
    return work


def test_a_new_folder_is_checked_trained_stored_and_served(work: Workplace) -> None:
    photos, run, index = f"'{work.data}'", work.run, work.index
    assert commands(work, port=9000, open_page=True) == [
        f"proxyhash data check {photos}",
        f"proxyhash train {photos} --out {run} --bits 32 --image-encoder m/x --on-bad-item skip",
        f"proxyhash index build {run} {photos} --out {index} --on-bad-item skip",
        f"proxyhash serve {index} --port 9000 --open",
    ]
    assert len(commands(work, serve=False)) == 3


def test_what_is_done_is_not_done_again(work: Workplace) -> None:
    work.run.mkdir()
    (work.run / "config.json").write_text(json.dumps({"bits": 32, "encoders": {"image": "m/x"}}))
    work.claim()
    assert commands(work)[1] == f"proxyhash train --resume --out {work.run}"
    (work.run / "model").mkdir()
    (work.run / "metrics.json").write_text("{}")
    assert [each.split()[1:3] for each in commands(work, serve=False)] == [["index", "build"]]
    work.index.mkdir()
    (work.index / "header.json").write_text("{}")
    assert commands(work, serve=False) == [
        f"proxyhash index sync {work.index} '{work.data}' --on-bad-item skip"
    ]


@pytest.mark.parametrize("text_encoder", [None, "none", "bow"])
def test_words_are_told_of_where_texts_are_encoded_and_indexed(
    work: Workplace, text_encoder: str | None
) -> None:
    work.run.mkdir()
    (work.run / "config.json").write_text(json.dumps({"encoders": {"text": text_encoder}}))
    with Store.create(work.index, bits=16) as index:
        assert not work.finds_by_words()
        index.fill_words()
    assert work.finds_by_words() is (text_encoder == "bow")


def test_vectors_are_kept_in_an_index_that_is_new_or_there(work: Workplace) -> None:
    work = replace(work, keep_vectors="int8")
    assert f"--out {work.index} --keep-vectors int8" in commands(work, serve=False)[-1]
    work.index.mkdir()
    (work.index / "header.json").write_text("{}")
    assert commands(work, serve=False)[-1] == f"proxyhash index vectors {work.index} int8"


@pytest.mark.parametrize(
    ("table", "given", "root"),
    [
        ("my photos/captions.csv", "my photos", "my photos"),
        ("my photos.csv", "my photos", "."),  # beside the folder of the images
        ("my photos.csv", "my photos.csv", "."),
        (None, "my photos", "my photos"),
    ],
)
def test_the_page_shows_the_original_images(
    table: str | None, given: str, root: str, tmp_path: Path
) -> None:
    (tmp_path / "my photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "my photos" / "a.jpg")
    if table:
        (tmp_path / table).write_text("filename;caption\na.jpg;a dog\n")
    work = Workplace(tmp_path / given, tmp_path / "work")
    work.run.mkdir(parents=True)
    for encoder, options in (("m/x", ("--originals", str(tmp_path / root))), ("none", ())):
        (work.run / "config.json").write_text(json.dumps({"encoders": {"image": encoder}}))
        assert work.page("--open").arguments == ("serve", str(work.index), *options, "--open")


def test_nothing_that_is_not_ours_is_written_into(work: Workplace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="was not made by `proxyhash up`, so it is not changed"):
        Workplace(work.data, other).claim()
    with pytest.raises(UsageError, match="was not made by"):
        Workplace(work.data, other / "letter.txt").claim()
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    with pytest.raises(UsageError, match=r"was made for .*my photos, not for .*other"):
        Workplace(other, work.path).claim()


def test_options_of_another_training_are_refused(work: Workplace) -> None:
    work.run.mkdir()
    (work.run / "config.json").write_text(json.dumps({"bits": 32, "encoders": {"image": "m/x"}}))
    with pytest.raises(UsageError, match="is trained with bits 32, not 64; choose another folder"):
        Workplace(work.data, work.path, {"bits": 64}).claim()
    with pytest.raises(UsageError, match="is trained with image encoder m/x, not m/y"):
        Workplace(work.data, work.path, {"image_encoder": "m/y"}).claim()
    Workplace(work.data, work.path).claim()


def test_tuning_is_an_option_of_the_training(work: Workplace) -> None:
    tuned = Workplace(work.data, work.path, {"tune": "image,text"})
    assert "--tune image,text" in commands(tuned)[1]
    work.run.mkdir()
    stored = work.run / "config.json"
    stored.write_text(json.dumps({"encoders": {}, "tune": ["image", "text"]}))
    tuned.claim()
    with pytest.raises(UsageError, match="is trained with tune image,text, not none"):
        Workplace(work.data, work.path, {"tune": "none"}).claim()
    stored.write_text(json.dumps({"encoders": {}}))  # of an earlier version
    Workplace(work.data, work.path, {"tune": "none"}).claim()
    with pytest.raises(UsageError, match="is trained with tune none, not image,text"):
        tuned.claim()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "proxyhash-photos"),
        ("My photos!", "proxyhash-My-photos"),
        ("a/captions.csv", "proxyhash-captions"),
        ("/", "proxyhash-collection"),
    ],
)
def test_the_folder_is_named_after_the_collection(data: str, name: str) -> None:
    assert Workplace.default_path(Path(data)) == Path(name)


@pytest.mark.enable_socket
def test_a_port_that_is_taken_is_not_asked_for() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by another program
            taken.bind(("127.0.0.1", 8080))
        taken.listen()
        assert free_port() == 0
