"""`proxyhash data`, from the shell's side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat

from proxyhash.data import Split, draw_split, read_collection
from proxyhash.data.protocols import PROTOCOLS, SplitProtocol
from proxyhash.datasets import CONVERTERS, converter_names
from proxyhash.methods import METHODS
from tests.data.builders import write_jsonl

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.data import Collection
    from tests.conftest import CommandResult

    Command = Callable[..., CommandResult]


@pytest.mark.parametrize("verb", ["check", "split", "convert", "generate"])
def test_help_has_examples(verb: str, proxyhash_command: Command) -> None:
    result = proxyhash_command("data", verb, "--help")
    assert result.code == 0
    assert f"proxyhash data {verb}" in result.out.split("Examples:")[1]


class TestCheck:
    def test_a_clean_set(self, scenes: Collection, proxyhash_command: Command) -> None:
        result = proxyhash_command("data", "check", scenes.path)
        assert result.code == 0
        assert "no errors, 200 images read" in result.out
        assert "26 labels" in result.out

    def test_json_alone_on_stdout(self, scenes: Collection, proxyhash_command: Command) -> None:
        result = proxyhash_command("data", "check", scenes.root, "--json", "--no-images")
        assert result.code == 0
        assert result.json["items"] == 200
        assert result.json["errors"] == result.json["images_read"] == 0

    def test_errors_are_listed_and_end_with_three(
        self, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        rows = [{"id": number, "image": f"{number}.jpg", "label": ""} for number in range(12)]
        write_jsonl(tmp_path / "items.jsonl", [*rows, {"id": 3}])
        result = proxyhash_command("data", "check", tmp_path)
        assert result.code == 3
        assert "missing images: 12" in result.out
        assert "row 1: " in result.out
        assert "and 2 more; --json lists them all" in result.out
        assert "row 13: id '3' is already used by row 4" in result.out
        assert "did you mean 'labels'?" in result.out
        assert "13 errors" in result.err
        assert "no errors" not in result.out

    def test_json_comes_before_the_exit_code(
        self, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        write_jsonl(tmp_path / "items.jsonl", [{"id": None}])
        result = proxyhash_command("data", "check", tmp_path, "--json")
        assert (result.code, result.json["errors"]) == (3, 1)

    def test_nothing_there(self, tmp_path: Path, proxyhash_command: Command) -> None:
        result = proxyhash_command("data", "check", tmp_path / "nowhere")
        assert (result.code, result.out) == (3, "")
        assert "does not exist" in result.err

    def test_control_characters_stay_out_of_the_terminal(
        self, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        write_jsonl(tmp_path / "items.jsonl", [{"id": "\x1b[31m", "labels": ["\x1b[2J"]}] * 2)
        result = proxyhash_command("data", "check", tmp_path)
        assert "\x1b" not in result.out + result.err

    def test_it_ends_with_what_training_can_do(
        self, scenes: Collection, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        result = proxyhash_command("data", "check", scenes.path, "--no-images")
        last = result.out.splitlines()[-1]
        assert last == f"training can start with any of {len(METHODS)} methods, such as dchml"
        rows = [{"id": n, "text": "a dog"} for n in range(12)]
        bad = write_jsonl(tmp_path / "items.jsonl", [*rows, {"id": 1}, {"id": 99, "n": 2**70}])
        result = proxyhash_command("data", "check", bad)
        assert result.code == 3
        last = result.out.splitlines()[-1]
        assert last.startswith("training can start, with --on-bad-item skip, with itq, random-")
        assert "0 of 12 items have some; the other methods need 10" in last
        assert "row 14: key 'n' holds an integer of more than 64 bits" in result.out
        shown = proxyhash_command("data", "check", bad, "--json").json["training"]
        assert shown["can_start"] is True
        assert shown["methods"] == ["itq", "random-projection"]

    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            ([{"id": n, "labels": ["x"]} for n in range(20)], "no item has an image or a text"),
            ([{"id": n, "img": "x.jpg"} for n in range(20)], "no item has an image or a text"),
        ],
    )
    def test_nothing_to_learn_from_is_bad_data(
        self,
        rows: list[dict[str, object]],
        says: str,
        tmp_path: Path,
        proxyhash_command: Command,
    ) -> None:
        path = write_jsonl(tmp_path / "items.jsonl", rows)
        result = proxyhash_command("data", "check", path)
        assert result.code == 3
        assert says in result.err

    def test_images_that_could_not_be_read_are_counted(
        self, scenes: Collection, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        rows = [
            {"id": 1, "image": str(scenes.sources("image")[0])},
            {"id": 2, "image": "two dogs run through the snow"},
            {"id": 3, "image": "x" * 300},
            {"id": 4, "image": f"{tmp_path}/closed/a.jpg"},
        ]
        path = write_jsonl(tmp_path / "items.jsonl", rows)
        result = proxyhash_command("data", "check", path)
        assert result.code == 3
        assert "3 of 4 images could not be read" in result.out
        assert result.out.count("it looks like a text, not a path") == 2

    def test_a_folder_says_what_was_recognized(
        self, scenes: Collection, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        (tmp_path / "images").symlink_to(scenes.root / "images")
        lines = [f"{Path(str(each)).name};a text;1,5" for each in scenes.sources("image")[:3]]
        table = tmp_path / "captions.csv"
        table.write_text("\n".join(["filename;caption;price", *lines]))
        result = proxyhash_command("data", "check", tmp_path)
        assert result.code == 0
        for words in (
            *("recognized: ", "3 images, 3 texts, no labels; image from column filename"),
            *("separated by semicolons", "ids from file names", "images in images/"),
            "numbers with a decimal comma in price",
        ):
            assert words in result.out
        out = tmp_path / "split.json"
        result = proxyhash_command(
            *("data", "split", tmp_path, "--query", 1, "--train", 2, "--out", out, "--json")
        )
        assert result.err.count("image from column filename") == 1

    def test_labels_are_split_as_asked(self, tmp_path: Path, proxyhash_command: Command) -> None:
        table = tmp_path / "t.csv"
        table.write_text('id,text,labels\n1,x,"dog,cat"\n')
        result = proxyhash_command("data", "check", table)
        assert "--label-separator" in result.out
        result = proxyhash_command("data", "check", table, "--label-separator", ",", "--json")
        assert result.json["labels"] == {"cat": 1, "dog": 1}
        result = proxyhash_command("data", "check", table, "--label-separator", "")
        assert result.code == 2


class TestSplit:
    def test_drawn(self, scenes: Collection, tmp_path: Path, proxyhash_command: Command) -> None:
        out = tmp_path / "split.json"
        numbers = ("--query", 40, "--train", 100, "--validation", 20, "--seed", 3)
        result = proxyhash_command("data", "split", scenes.path, *numbers, "--out", out)
        assert result.code == 0
        split = Split.load(out, scenes)
        assert (len(split.query), len(split.train), len(split.validation)) == (40, 80, 20)
        assert split.seed == 3
        again = proxyhash_command("data", "split", scenes.path, *numbers, "--out", out, "--json")
        assert again.json["fingerprint"] == split.fingerprint(scenes)

    def test_from_the_manifest(self, tmp_path: Path, proxyhash_command: Command) -> None:
        rows = [
            {"id": number, "labels": ["x"], "split": "test" if number < 3 else "train"}
            for number in range(9)
        ]
        path = write_jsonl(tmp_path / "items.jsonl", rows)
        out = tmp_path / "split.json"
        options = ("--from-manifest", "--validation", 2, "--out", out)
        assert proxyhash_command("data", "split", path, *options).code == 0
        split = Split.load(out, read_collection(path))
        assert split.query.tolist() == [0, 1, 2]
        assert len(split.validation) == 2

    def test_too_many(self, scenes: Collection, tmp_path: Path, proxyhash_command: Command) -> None:
        result = proxyhash_command(
            "data", "split", scenes.path, "--query", 500, "--out", tmp_path / "split.json"
        )
        assert result.code == 2
        assert "500 queries were requested, but only 200 items" in result.err
        assert not (tmp_path / "split.json").exists()

    def test_a_protocol_fixes_the_sizes(
        self,
        scenes: Collection,
        tmp_path: Path,
        proxyhash_command: Command,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        classes = len(scenes.classes)
        protocol = SplitProtocol("dchmt-coco", "MS COCO", 200, classes, 30, 100, "nowhere")
        monkeypatch.setitem(PROTOCOLS, "dchmt-coco", protocol)
        out = tmp_path / "split.json"
        options = ("--protocol", "dchmt-coco", "--validation", 7, "--seed", 4, "--out", out)
        assert proxyhash_command("data", "split", scenes.path, *options).code == 0
        split = Split.load(out, scenes)
        expected = draw_split(scenes, query=30, train=100, validation=7, seed=4)
        assert split.fingerprint(scenes) == expected.fingerprint(scenes)

    @pytest.mark.parametrize("option", [("--query", 5), ("--train", 5), ("--from-manifest",)])
    def test_a_protocol_stands_alone(
        self, option: tuple[object, ...], tmp_path: Path, proxyhash_command: Command
    ) -> None:
        out = ("--out", tmp_path / "split.json")
        result = proxyhash_command("data", "split", tmp_path, "--protocol", "x", *option, *out)
        assert result.code == 2
        expected = "protocol x fixes the numbers of queries and training items; leave out --query"
        assert expected in result.err

    def test_a_protocol_of_another_data_set(
        self, scenes: Collection, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        options = ("--protocol", "dcmh-mirflickr", "--out", tmp_path / "split.json")
        result = proxyhash_command("data", "split", scenes.path, *options)
        assert result.code == 3
        assert "needs MIRFLICKR-25K with 20,015 pairs of 24 classes: convert with" in result.err


class TestConvert:
    @pytest.fixture
    def published(self, tmp_path: Path) -> Path:
        folder = tmp_path / "published"
        folder.mkdir()
        (folder / "categories.list").write_text("art\n")
        (folder / "trainset_txt_img_cat.list").write_text("t1\ti1\t1\n")
        (folder / "testset_txt_img_cat.list").write_text("t2\ti2\t1\n")
        names = ("I_tr", "I_te", "T_tr", "T_te")
        savemat(folder / "raw_features.mat", {name: np.ones((1, 2)) for name in names})
        return folder

    def test_writes_and_says_how_to_go_on(
        self, published: Path, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        out = tmp_path / "out"
        result = proxyhash_command("data", "convert", published, "--out", out)
        assert result.code == 0
        assert f"--image-encoder features:{out / 'image_features.npy'}" in result.err
        assert read_collection(out).ids == ("t1", "t2")
        second = proxyhash_command("data", "convert", published, "--out", out)
        assert second.code == 2
        assert "--force" in second.err
        third = proxyhash_command("data", "convert", published, "--out", out, "--force", "--json")
        assert third.json["items"] == 2
        assert third.json["protocols"] == []
        assert set(third.json["features"]) == {"image", "text"}

    def test_options_reach_the_converter(
        self, tmp_path: Path, proxyhash_command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "flickr"
        (folder / "meta" / "tags").mkdir(parents=True)
        (folder / "meta" / "tags" / "tags1.txt").write_text("sea\n")
        (folder / "meta" / "tags" / "tags2.txt").write_text("sky\n")
        (folder / "plant_life.txt").write_text("2\n")
        protocol = SplitProtocol("dchmt-coco", "a set", 1, 1, 30, 100, "nowhere")
        monkeypatch.setitem(PROTOCOLS, "dchmt-coco", protocol)
        arguments = ("data", "convert", folder, "--out", tmp_path / "out")
        result = proxyhash_command(*arguments, "--version", "dchmt", "--images", tmp_path / "jpg")
        assert result.code == 0
        assert "MIRFLICKR-25K, version dchmt: 1 items of 1 classes" in result.out
        assert "--protocol dchmt-coco --out runs/first" in result.err
        assert read_collection(tmp_path / "out").items[0].sources.get("image") == "../jpg/im2.jpg"
        wrong = proxyhash_command(*arguments, "--force", "--version", "dchm")
        assert wrong.code == 2
        assert "version is 'dchm'; it must be one of all, dchmt, dcmh" in wrong.err

    def test_help_names_every_converter(self, proxyhash_command: Command) -> None:
        shown = " ".join(proxyhash_command("data", "convert", "--help").out.split())
        assert all(name in shown for name in CONVERTERS)
        assert len(CONVERTERS) >= 7
        assert converter_names() == list(CONVERTERS)


class TestGenerate:
    def test_images_and_manifest(self, tmp_path: Path, proxyhash_command: Command) -> None:
        folder = tmp_path / "set"
        options = ("--items", 6, "--seed", 1, "--size", 48)
        result = proxyhash_command("data", "generate", folder, *options)
        assert result.code == 0
        assert len(list((folder / "images").glob("*.jpg"))) == 6
        assert proxyhash_command("data", "generate", folder, *options).code == 2
        again = proxyhash_command("data", "generate", folder, *options, "--force", "--json")
        assert again.json["fingerprint"] == read_collection(folder).fingerprint
        assert json.loads(again.out)["items"] == 6

    def test_images_of_someone_else_are_not_written_over(
        self, tmp_path: Path, proxyhash_command: Command
    ) -> None:
        theirs = tmp_path / "set" / "images" / "000000.jpg"
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(b"theirs")
        refused = proxyhash_command("data", "generate", tmp_path / "set", "--items", 2)
        assert refused.code == 2
        assert f"{theirs.parent} exists; choose another folder" in refused.err
        assert theirs.read_bytes() == b"theirs"
