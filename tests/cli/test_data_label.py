"""`proxyhash data label` as people call it: folders, edits, wrong input, training on the result."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.data import read_collection
from tests.cli.conftest import PROXYHASH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.data import Collection
    from tests.conftest import CommandResult

    Command = Callable[..., CommandResult]

PLAIN = ("--image-encoder", "descriptor", "--text-encoder", "bow")


@pytest.fixture
def label(proxyhash_command: Command, scenes: Collection, tmp_path: Path) -> Command:
    def run(*options: object, data: object = scenes.root) -> CommandResult:
        return proxyhash_command("data", "label", data, "--out", tmp_path / "found", *options)

    return run


def test_a_manifest_a_page_and_edits_are_written(
    label: Command, scenes: Collection, tmp_path: Path
) -> None:
    result = label(*PLAIN, "--classes", 8, "--json")
    assert result.code == 0
    assert result.json["from"] == "texts"
    assert len(result.json["classes"]) == 8
    found = read_collection(tmp_path / "found")
    assert found.ids == scenes.ids
    assert found.estimated == sum(bool(item.probabilities) for item in found.items) > 150
    assert set(found.classes) == {each["name"] for each in result.json["classes"]}
    counts = dict(zip(found.classes, found.labels.sum(axis=0).tolist(), strict=True))
    assert counts == {each["name"]: each["items"] for each in result.json["classes"]}
    for one, other in zip(found.sources("image"), scenes.sources("image"), strict=True):
        assert one.resolve() == other.resolve()
    assert [item.payload for item in found.items] == [item.payload for item in scenes.items]
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        *("classes.html", "edits.txt", "found.json", "items.jsonl"),
    ]


def test_edits_are_read_again(label: Command, tmp_path: Path) -> None:
    first = label(*PLAIN, "--classes", 6, "--json").json["classes"]
    names = [each["name"] for each in first]
    edits = tmp_path / "found" / "edits.txt"
    edits.write_text(f"merge {names[0]}, {names[1]} = both\ndrop {names[2]}\n")
    again = label(*PLAIN, "--classes", 6, "--json").json
    assert {each["name"] for each in again["classes"]} == {"both", *names[3:]}
    assert again["edits"] == 2
    assert edits.read_text().startswith("merge")  # never written over
    assert "2 edits applied" in (tmp_path / "found" / "classes.html").read_text()
    edits.write_text("drop nothing-like-it")
    wrong = label(*PLAIN, "--classes", 6)
    assert (wrong.code, "line 1: there is no class 'nothing-like-it'" in wrong.err) == (3, True)


def test_names_come_from_options_or_a_file(label: Command, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("boat: ship\ncat\n")
    for given in (("--name", "boat: ship", "--name", "cat"), ("--names", tmp_path / "names.txt")):
        result = label(*PLAIN, *given, "--json")
        assert result.code == 0
        assert [each["name"] for each in result.json["classes"]] == ["boat", "cat"]


def test_a_run_on_found_classes_says_what_its_figures_are(
    label: Command, proxyhash_command: Command, scenes: Collection, tmp_path: Path
) -> None:
    told = label(*PLAIN, "--from", "images", "--classes", 5)
    assert told.code == 0
    assert "200 items have labels already, which were not read" in told.err
    assert f"proxyhash train {tmp_path / 'found'} {' '.join(PLAIN)} --method dchml-plus" in told.err
    trained = proxyhash_command(
        *("train", tmp_path / "found", "--method", "dchml", "--out", tmp_path / "run"),
        *("--bits", 16, "--epochs", 1, "--hidden", 16, "--image-encoder", "descriptor"),
    )
    assert trained.code == 0
    own = proxyhash_command("evaluate", tmp_path / "run")
    assert "are probabilities, found and not given" in " ".join(own.out.split())
    judged = proxyhash_command("evaluate", tmp_path / "run", "--labels", scenes.root)
    assert f"run: dchml, 16 bits, judged by the labels of {scenes.root}\n" in judged.out
    true = proxyhash_command("evaluate", tmp_path / "run", "--labels", scenes.root, "--json")
    kinds = {each["kind"] for each in true.json["warnings"]}
    assert "found_labels" not in kinds
    assert true.json["fingerprint"]["labels"]["path"] == str(scenes.path)
    saved = proxyhash_command("evaluate", tmp_path / "run", "--labels", scenes.root, "--save")
    assert (saved.code, "use --save without --labels" in saved.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--from", "words"], 2, "--from is 'words'; it must be one of"),
        (["--from", "names"], 2, "--from names needs names"),
        (["--from", "images", "--name", "dog"], 2, "names are for --from names"),
        (["--name", "dog", "--classes", "3"], 2, "the number of classes is that of the names"),
        (["--name", "a", "--names", "f"], 2, "two ways to give names"),
        (["--name", "!!"], 3, "--name '!!': '!!' is not a word or phrase"),
        (["--names", "nowhere.txt"], 2, "nowhere.txt cannot be read"),
        (["--edits", "nowhere.txt"], 2, "nowhere.txt does not exist"),
        (["--classes", "1"], 2, "--classes"),
        (["--text-encoder", "bov"], 2, "did you mean 'bow'?"),
    ],
)
def test_wrong_options(label: Command, options: list[str], code: int, says: str) -> None:
    result = label(*options)
    assert result.code == code
    assert says in " ".join(result.err.split())


def test_the_source_and_manifests_of_others_are_never_replaced(
    proxyhash_command: Command, label: Command, scenes: Collection, tmp_path: Path
) -> None:
    inside = proxyhash_command("data", "label", scenes.root, "--out", scenes.root)
    assert (inside.code, "whose manifest is never replaced" in inside.err) == (2, True)
    theirs = tmp_path / "found" / "items.jsonl"
    theirs.parent.mkdir()
    theirs.write_text('{"id": "precious"}\n')
    refused = label(*PLAIN)
    assert (refused.code, "`data label` did not write it" in refused.err) == (2, True)
    assert theirs.read_text() == '{"id": "precious"}\n'
    assert label(*PLAIN, "--classes", 4, "--overwrite").code == 0


@pytest.mark.slow
def test_a_killed_command_leaves_whole_files_and_runs_again(
    scenes: Collection, tmp_path: Path, proxyhash_process: Command
) -> None:
    out = tmp_path / "found"
    command = ["data", "label", str(scenes.root), "--out", str(out), *PLAIN, "--classes", "6"]
    process = subprocess.Popen([PROXYHASH, *command], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (out / "found.json").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert json.loads((out / "found.json").read_text())["way"] == "texts"
    manifest = out / "items.jsonl"
    lines = manifest.read_text().splitlines() if manifest.exists() else []
    assert len(lines) in (0, len(scenes))
    again = proxyhash_process(*command, "--json")
    assert again.code == 0
    items: Any = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len(items) == len(scenes)
