"""Models on the hub, against a server that speaks its interface: push, pull, and errors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, constants

import proxyhash as ph
from proxyhash.errors import ModelError, ProxyhashError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.hashing.hub import fetch_model, publish_model, pull_model
from tests.hashing.hub_server import Hub, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import CommandResult

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the client's own
]
NAME = "ada/birds-64"
TEXTS = ["a dog in the snow", "two boats at night"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub()) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def logged_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return hub


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_is_pushed_and_pulled_as_it_was(
    logged_in: Hub, small_run: Path, proxyhash_command: Callable[..., CommandResult],
    tmp_path: Path,
) -> None:  # fmt: skip
    pushed = proxyhash_command(
        "push", small_run, NAME, "--license", "apache-2.0", "--language", "en", "--private"
    )
    assert pushed.code == 0, pushed.err
    assert pushed.out.strip() == f"{logged_in.url}/{NAME}"
    assert logged_in.repositories[NAME].private
    stored = logged_in.files(NAME)
    model = content(small_run / "model")
    assert {name: stored[name] for name in model} == model
    assert stored.keys() - model.keys() == {".gitattributes", "README.md"}
    pulled = proxyhash_command("pull", NAME, tmp_path / "birds")
    assert pulled.code == 0, pulled.err
    assert content(tmp_path / "birds") == model | {"README.md": stored["README.md"]}
    assert not any(path.is_symlink() for path in (tmp_path / "birds").rglob("*"))
    ours = HashModel.load(small_run / "model").encode_texts(TEXTS, on_unknown="keep")
    theirs = HashModel.load(tmp_path / "birds").encode_texts(TEXTS, on_unknown="keep")
    assert np.array_equal(ours, theirs)
    told = [pushed.out, pushed.err, pulled.out, pulled.err, *map(str, content(tmp_path).values())]
    assert not any(logged_in.token in text for text in told)
    again = proxyhash_command("push", tmp_path / "birds", "ada/again", "--json")
    assert again.json == {"repository": "ada/again", "url": f"{logged_in.url}/ada/again"}
    assert logged_in.files("ada/again")["README.md"] == stored["README.md"]


def test_the_card_has_figures_in_the_hubs_form(logged_in: Hub, small_run: Path) -> None:
    publish_model(small_run / "model", NAME, card=(small_run / "README.md").read_text("utf-8"))
    text = logged_in.files(NAME)["README.md"].decode()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "proxyhash"
    assert front["pipeline_tag"] == "feature-extraction"
    assert {"proxyhash", "cross-modal-retrieval"} <= set(front["tags"])
    metrics = json.loads((small_run / "metrics.json").read_text())
    found = {
        each.metric_name: each.metric_value for each in ModelCard(text).data.eval_results or []
    }
    for direction, value in metrics["map"].items():
        words = direction.replace("_", " ")
        assert found[f"mAP, {words}, literature gallery"] == round(value, 5)
    for direction, value in metrics["strict"]["map"].items():
        words = direction.replace("_", " ")
        assert found[f"mAP, {words}, strict gallery"] == round(value, 5)


@pytest.mark.parametrize("earlier", [False, True])
def test_cards_of_bare_models_and_of_runs_of_earlier_versions(
    logged_in: Hub, small_run: Path, proxyhash_command: Callable[..., CommandResult], earlier: bool
) -> None:
    written = Path(__file__).parents[1] / "written" / "0.1.0" / "run"
    source = written if earlier else small_run / "model"
    pushed = proxyhash_command("push", source, NAME)
    assert pushed.code == 0, pushed.err
    assert "the card has no license" in pushed.err
    text = logged_in.files(NAME)["README.md"].decode()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "proxyhash"
    assert ("model-index" in front) == earlier
    if earlier:
        assert text.endswith((written / "README.md").read_text("utf-8"))
    else:
        assert HashModel.load(small_run / "model").fingerprint in text


def test_from_pretrained_takes_the_hub_its_cache_and_folders(
    logged_in: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_model(small_run / "model", NAME, card="# birds\n")
    model = HashModel.from_pretrained(NAME)
    first = dict(logged_in.sent)
    assert model.fingerprint == HashModel.from_pretrained(small_run).fingerprint
    assert model.encode_texts(TEXTS, on_unknown="keep").shape == (2, 2)
    HashModel.from_pretrained(NAME)
    assert logged_in.sent == first  # nothing twice
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert HashModel.from_pretrained(NAME).fingerprint == model.fingerprint
    with pytest.raises(ProxyhashError, match=r"HF_HUB_OFFLINE is set.*ada/other; unset it"):
        HashModel.from_pretrained("ada/other")


def test_branches_and_older_commits(logged_in: Hub, small_run: Path, tmp_path: Path) -> None:
    publish_model(small_run / "model", NAME, card="# first\n")
    first = logged_in.repositories[NAME].branches["main"]
    publish_model(small_run / "model", NAME, card="# second\n", revision="v2")
    publish_model(small_run / "model", NAME, card="# third\n")
    for revision, card in ((None, "third"), ("v2", "second"), (first, "first")):
        pull_model(NAME, tmp_path / "birds", revision=revision)
        assert (tmp_path / "birds" / "README.md").read_text() == f"# {card}\n"
    with pytest.raises(ModelError, match="ada/birds-64 has no branch, tag or commit 'v9'"):
        pull_model(NAME, tmp_path / "new", revision="v9")


def test_a_new_push_removes_what_the_model_no_longer_has(logged_in: Hub, small_run: Path) -> None:
    logged_in.put(NAME, {"sound_encoder/encoder.json": b"{}", "demo.gif": b"GIF"})
    publish_model(small_run / "model", NAME, card="# birds\n")
    assert "sound_encoder/encoder.json" not in logged_in.files(NAME)
    assert logged_in.files(NAME)["demo.gif"] == b"GIF"


@pytest.mark.parametrize(("name", "extra", "status"), [
    ("ada/nothing", {}, "check the name; if it is private, log in"),
    ("ada/secret", {"private": True}, "check the name; if it is private, log in"),
])  # fmt: skip
def test_what_is_missing_or_private_is_said(
    hub: Hub, name: str, extra: dict[str, bool], status: str, tmp_path: Path
) -> None:
    if extra:
        hub.put(name, {"model.json": b"{}"}, **extra)
    with pytest.raises(ModelError, match=f"{name} is not on {hub.url}, or is private: {status}"):
        pull_model(name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_a_token_opens_what_is_private(hub: Hub, small_run: Path, tmp_path: Path) -> None:
    hub.put(NAME, content(small_run / "model"), private=True)
    with pytest.raises(ModelError, match=r"whether your token may read it|log in"):
        fetch_model(NAME, token="hf_wrong")
    assert HashModel.from_pretrained(NAME, token=hub.token).bits == 16
    hub.gated.add("ada/gated")
    hub.put("ada/gated", content(small_run / "model"))
    with pytest.raises(ModelError, match="ada/gated is gated: accept its terms at"):
        fetch_model("ada/gated")


def test_nobody_pushes_without_the_right(
    hub: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProxyhashError, match=r"not let you write to ada/birds-64 without a token"):
        publish_model(small_run / "model", NAME, card="")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(ProxyhashError, match="not let you write to eve/x with this token") as told:
        publish_model(small_run / "model", "eve/x", card="")
    assert hub.token not in str(told.value)


@pytest.mark.parametrize(
    "name", ["birds", "../birds/x", "a/b/c", "ada/..", "https://x.example/y", ""]
)
def test_names_that_are_none_are_refused_before_any_request(hub: Hub, name: str) -> None:
    with pytest.raises(UsageError, match="has the form user/name"):
        fetch_model(name)
    assert hub.requests == []


def test_only_files_that_a_model_has_are_fetched(
    hub: Hub, small_run: Path, proxyhash_command: Callable[..., CommandResult], tmp_path: Path
) -> None:
    odd = {
        "pytorch_model.bin": b"\x80\x04pickle",
        "text_encoder/weights.pkl": b"\x80\x04pickle",
        "text_encoder/.hidden.json": b"{}",
        "image_encoder/../../escape.json": b"{}",
        "modeling.py": b"raise SystemExit",
    }
    hub.put(NAME, content(small_run / "model") | odd)
    done = proxyhash_command("pull", NAME, tmp_path / "birds", "--json")
    assert done.code == 0, done.err
    assert sorted(done.json["ignored"]) == sorted(odd)
    assert content(tmp_path / "birds") == content(small_run / "model")
    assert not [path for _, path, _ in hub.requests if any(path.endswith(name) for name in odd)]


def test_damage_sizes_and_other_repositories_are_refused(
    hub: Hub, small_run: Path, tmp_path: Path
) -> None:
    model = content(small_run / "model")
    hub.put("ada/bert", {"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(ModelError, match="ada/bert holds no model of proxyhash"):
        pull_model("ada/bert", tmp_path / "out")
    hub.put("ada/bad", model | {"networks.safetensors": model["networks.safetensors"][:-1] + b"x"})
    with pytest.raises(ModelError, match=r"ada/bad: .*networks.safetensors: the checksum does not"):
        pull_model("ada/bad", tmp_path / "out")
    sums = json.loads(model["checksums.json"])
    header = model["model.json"].replace(b'"bits": 16', b'"bits": 24')
    sums["model.json"] = hashlib.sha256(header).hexdigest()
    forged = {"model.json": header, "checksums.json": json.dumps(sums).encode()}
    hub.put("ada/forged", model | forged)
    with pytest.raises(ModelError):
        pull_model("ada/forged", tmp_path / "out")
    hub.put("ada/huge", model)
    hub.sizes["networks.safetensors"] = 1 << 40
    with pytest.raises(ModelError, match="more than any model of ours"):
        pull_model("ada/huge", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_folder_of_something_else_is_left_alone(
    hub: Hub, small_run: Path, tmp_path: Path
) -> None:
    hub.put(NAME, content(small_run / "model"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    with pytest.raises(UsageError, match="holds something other than a model"):
        pull_model(NAME, tmp_path / "thesis")
    assert content(tmp_path / "thesis") == {"chapter.tex": b"years"}
    assert hub.requests == []


def test_where_features_lie_is_not_published(logged_in: Hub, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 4))
    images, texts = (shared @ rng.normal(size=(4, width)) for width in (8, 6))
    model = ph.train(images=images, texts=texts, bits=8)
    model.encoder("image").path = tmp_path / "images.npy"  # as `--image-encoder features:` has it
    folder = tmp_path / "model"
    model.save(folder)
    before = content(folder)
    assert any(str(tmp_path).encode() in each for each in before.values())  # what this is about
    publish_model(folder, NAME, card="# A model")
    stored = logged_in.files(NAME)
    assert not any(str(tmp_path).encode() in each for each in stored.values())
    assert content(folder) == before
    pulled = pull_model(NAME, tmp_path / "pulled")
    assert HashModel.load(tmp_path / "pulled").fingerprint == model.fingerprint, pulled
    ours, theirs = (
        each.encode_features(images.astype(np.float32), modality="image")
        for each in (model, HashModel.load(tmp_path / "pulled"))
    )
    assert np.array_equal(ours, theirs)


def test_a_damaged_or_strange_folder_is_not_pushed(
    logged_in: Hub, small_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    HashModel.load(small_run / "model").save(folder)
    (folder / "notes.docx").write_text("private")
    with pytest.raises(ModelError, match=r"notes.docx is not a file of a model"):
        publish_model(folder, NAME, card="")
    (folder / "notes.docx").unlink()
    (folder / "text_encoder" / "more.json").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="symbolic link"):
        publish_model(folder, NAME, card="")
    assert logged_in.repositories == {}


def command(hub: Hub, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, with the hub as its hub."""
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(folder / "cache"),
           "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder), "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "proxyhash", *arguments],
        env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_leaves_nothing_half_and_goes_on(
    small_run: Path, tmp_path: Path, how: signal.Signals
) -> None:
    model = content(small_run / "model")
    with serving(Hub()) as hub:
        hub.put(NAME, model)
        hub.stalled.add("networks.safetensors")
        deadline = time.monotonic() + 60
        with command(hub, tmp_path, "pull", NAME, str(tmp_path / "birds")) as process:
            while "networks.safetensors" not in hub.sent and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)  # until the half that was sent is on the disk
            process.send_signal(how)
            _, err = process.communicate(timeout=30)
        assert process.returncode == (130 if how == signal.SIGINT else -how), err
        fetched = set(hub.sent) - {"networks.safetensors"}
        assert fetched  # in the order of their names
        assert not (tmp_path / "birds").exists()
        hub.stalled.clear()
        before = dict(hub.sent)
        with command(hub, tmp_path, "pull", NAME, str(tmp_path / "birds")) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert content(tmp_path / "birds") == model
        assert not [name for name in fetched if hub.sent[name] > before[name]]


@pytest.mark.slow
def test_the_command_line_without_a_hub(small_run: Path, tmp_path: Path) -> None:
    with serving(Hub()) as hub:
        pass  # the port is free again
    with command(hub, tmp_path, "pull", NAME, str(tmp_path / "birds")) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{hub.url} cannot be reached" in err
    assert "ada/birds-64" in err
    assert "Traceback" not in err
