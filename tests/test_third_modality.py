"""A third modality is a registration and an encoder: it trains, is evaluated and is searched.

Items here have melodies beside images and texts: a string of notes, such as "C E E G".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

import proxyhash as ph
from proxyhash.codes import CodeFile
from proxyhash.data import MODALITIES, read_collection, register_modality
from proxyhash.encoders import ENCODERS, BatchEncoder, EncoderRequest, register_encoder
from proxyhash.encoders.folder import write_settings
from proxyhash.errors import UsageError
from proxyhash.hashing import HashModel
from proxyhash.search import Query, open_searcher
from proxyhash.training import read_config
from proxyhash.training.history import read_history
from proxyhash.training.prepare import prepare
from tests.training.runs import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxyhash.data import Collection

NOTES = "CDEFGABcdefgab"


class NoteCounts(BatchEncoder):
    """How often each note occurs."""

    kind = "note-counts"
    modalities = ("melody",)
    cached = False

    def __init__(self) -> None:
        self.modality = "melody"
        self.dim = len(NOTES)
        self.fingerprint = "5e" * 32

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        return cls()

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        return cls()

    def save(self, folder: Path) -> None:
        write_settings(folder, self, {})

    def embed(self, prepared: Sequence[Any]) -> np.ndarray:
        return np.array([[melody.count(note) for note in NOTES] for melody in prepared], np.float32)


@pytest.fixture(scope="module", autouse=True)
def _melodies() -> Iterator[None]:
    """The whole registration of a modality and its encoder."""
    register_modality("melody", plural="melodies")
    register_encoder(NoteCounts)
    yield
    ENCODERS.remove(NoteCounts.kind)
    MODALITIES.remove("melody")


@pytest.fixture(scope="module")
def data(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes with a note for each class; every tenth item has no melody."""
    generator = np.random.default_rng(0)

    def add_melody(position: int, item: dict[str, Any]) -> None:
        if position % 10 == 9:
            return
        own = [NOTES[scenes.classes.index(label) % len(NOTES)] for label in item["labels"]]
        item["melody"] = " ".join(own * 3 + list(generator.choice(list(NOTES), 2)))

    return rewrite(scenes, tmp_path_factory.mktemp("melodies") / "data", add_melody)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `dchml` in alternating passes."""
    from proxyhash.training import train

    out = tmp_path_factory.mktemp("runs") / "melodies"
    options = {"bits": 16, "hidden": [32], "epochs": 12, "batch_size": 16, "threads": 1}
    options |= {"query": 30, "train": 140, "validation": 20, "encoders": {"melody": "note-counts"}}
    options |= {"settings": {"schedule": "alternating"}, "learning_rates": {"melody": 0.01}}
    train(read_config({"data": str(data), "out": str(out), "standardize": True, **options}))
    return out


def test_the_manifest_names_the_modality(data: Path) -> None:
    collection = read_collection(data)
    assert collection.modalities == ("image", "text", "melody")
    assert collection.has("melody").sum() == 180
    assert set(collection.sources("melody")[0] or "") <= {*NOTES, " "}


def test_a_modality_without_an_encoder_is_not_skipped_silently(data: Path, tmp_path: Path) -> None:
    config = read_config({"data": str(data), "out": str(tmp_path / "run"), "query": 30})
    with pytest.raises(UsageError, match=r"items of .* have a melody.*--encoder melody=none"):
        prepare(config)
    short = {"data": "d", "out": "o", "melody_encoder": "none", "melody_learning_rate": 0.1}
    assert read_config(short).modalities == ("image", "text")
    assert read_config(short).learning_rates == {"melody": 0.1}


def test_training_validates_and_evaluates_every_direction(run: Path, data: Path) -> None:
    names = ("image", "text", "melody")
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["map"]) == {f"{one}_to_{other}" for one in names for other in names}
    across = {f"{one}_to_{other}" for one in names for other in names if one != other}
    assert set(read_history(run / "history.jsonl")[-1].validation) == {*across, "mean"}
    labels = read_collection(data).labels.astype(int)
    chance = (labels @ labels.T > 0).mean()
    for direction in ("melody_to_text", "text_to_melody", "melody_to_melody"):
        assert metrics["map"][direction] > chance + 0.1
    card = (run / "README.md").read_text()
    assert "16-bit codes for images, texts and melodies, by dchml" in card
    assert "| melody encoder | `note-counts`, frozen |" in card
    assert "| melody → text |" in card


def test_model_and_codes_have_the_modality(run: Path, data: Path) -> None:
    model = HashModel.load(run / "model")
    assert model.modalities == ("image", "text", "melody")
    codes = CodeFile.load(run / "codes.npz")
    collection = read_collection(data)
    np.testing.assert_array_equal(codes.has("melody"), collection.has("melody"))
    melodies = [melody for melody in collection.sources("melody") if melody is not None]
    again = model.encode(melodies, modality="melody")
    np.testing.assert_array_equal(codes.of("melody")[codes.has("melody")], again)


def test_a_stopped_run_with_three_modalities_resumes(run: Path, data: Path, tmp_path: Path) -> None:
    from proxyhash.errors import InterruptedRunError
    from proxyhash.training import stage as stage_module
    from proxyhash.training import train

    config = json.loads((run / "config.json").read_text()) | {"out": str(tmp_path / "parts")}
    calls = iter(range(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_module, "run_epochs", _stopping(stage_module.run_epochs, calls))
        with pytest.raises(InterruptedRunError):
            train(read_config(config))
    train(read_config(config), resume=True)
    for name in ("codes.npz", "model/networks.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (run / name).read_bytes()


def _stopping(original: Any, calls: Iterator[int]) -> Any:
    def run_epochs(*arguments: Any, stop: Any, **options: Any) -> None:
        original(*arguments, stop=lambda: next(calls) >= 100, **options)

    return run_epochs


@pytest.mark.parametrize("place", ["run", "index"])
def test_the_command_line_evaluates_encodes_and_indexes_and_a_melody_asks(
    run: Path, data: Path, tmp_path: Path, proxyhash_command, place: str
) -> None:
    where = run
    if place == "index":
        where = tmp_path / "melodies.index"
        built = proxyhash_command("index", "build", run, data, "--out", where, "--json")
        assert built.code == 0, built.err
        info = proxyhash_command("index", "info", where, "--json").json
        assert info["modalities"] == {"image": 200, "text": 200, "melody": 180}
    else:
        evaluated = proxyhash_command("evaluate", run, "--json")
        assert evaluated.code == 0, evaluated.err
        metrics = json.loads((run / "metrics.json").read_text())
        assert evaluated.json["map"] == metrics["map"]
        done = proxyhash_command("encode", run, data, "--out", tmp_path / "codes.npz")
        assert done.code == 0, done.err
        assert (tmp_path / "codes.npz").read_bytes() == (run / "codes.npz").read_bytes()
    collection = read_collection(data)
    rows = {item.id: item for item in collection.items}
    labels = collection.labels.astype(int)
    chance = (labels @ labels.T > 0).mean()
    relevant = []
    with open_searcher(str(where)) as searcher:
        for row in range(8):
            melody = collection.sources("melody")[row]
            answer = searcher.search(Query.of("melody", melody), target="image", k=10)
            assert answer.target == "image"
            assert len(answer.hits) == 10
            wanted = set(collection.items[row].labels)
            relevant += [bool(wanted & set(rows[hit.id].labels)) for hit in answer.hits]
        assert np.mean(relevant) > chance + 0.1
        back = searcher.search("a boat", target="melody", k=180)
        assert all(rows[hit.id].sources.get("melody") for hit in back.hits)


def test_it_trains_on_arrays(scenes: Collection) -> None:
    labels = [sorted(item.labels) for item in scenes.items]
    melodies = [" ".join(NOTES[scenes.classes.index(each) % 14] for each in row) for row in labels]
    model = ph.train(
        images=np.random.default_rng(0).normal(size=(len(labels), 4)),
        sources={"melody": melodies},
        labels=labels,
        encoders={"melody": NoteCounts.kind},
        bits=16,
        epochs=1,
        hidden=[4],
        threads=1,
    )
    assert model.modalities == ("image", "melody")
    assert model.encode(["C D"], modality="melody").shape == (1, 2)
