from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from proxyhash import registry
from proxyhash.data import MODALITIES, read_collection, register_modality
from proxyhash.encoders import (
    ENCODERS,
    BagOfWords,
    BatchEncoder,
    Encoder,
    FeatureCache,
    encode_collection,
    load_encoder,
    make_encoder,
    register_encoder,
)
from proxyhash.encoders.folder import write_settings
from proxyhash.errors import ModelError, SourceError, UsageError
from tests.data.builders import write_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data import Collection


class Announced(BagOfWords):
    """Stands for an encoder of another package."""

    kind: ClassVar[str] = "announced"


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("announced", f"{__name__}:Announced", ENCODERS.group)
    monkeypatch.setattr(ENCODERS, "_members", dict(ENCODERS.items()))
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]))
    monkeypatch.setattr(ENCODERS, "_loaded", False)


@pytest.mark.usefixtures("announced")
def test_other_packages_announce_encoders(tmp_path: Path, scenes: Collection) -> None:
    assert ENCODERS["announced"] is Announced
    made = make_encoder("announced", modality="text", collection=scenes, train=np.arange(9))
    made.save(tmp_path)
    assert isinstance(load_encoder(tmp_path), Announced)


def test_a_kind_is_given_once() -> None:
    class Second(BagOfWords):
        """Another class of the same kind."""

    with pytest.raises(ValueError, match=r"another encoder is already named 'bow': .*BagOfWords"):
        register_encoder(Second)
    assert register_encoder(BagOfWords) is BagOfWords


def test_encoders_follow_the_protocol() -> None:
    assert isinstance(BagOfWords(["a"]), Encoder)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bwo", "did you mean 'bow'"),
        ("patchs:count=3", "did you mean 'patches'"),
        ("./nowhere", "no such folder; give a folder"),
        ("/nowhere/at/all", "no such folder"),
        ("a/b/c", "no such folder"),
        ("", "no such folder"),
        ("bow:words=x", "an integer is expected"),
    ],
)
def test_wrong_specs_are_refused_with_a_hint(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_encoder(spec, modality="text")


def test_a_wrong_modality_is_refused() -> None:
    with pytest.raises(UsageError, match="modality is 'video'"):
        make_encoder("bow", modality="video")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"'bow' does not encode images; .*descriptor.* do"):
        make_encoder("bow", modality="image")


@pytest.mark.parametrize("spec", ["bow", "patches"])
def test_encoders_that_learn_ask_for_data(spec: str) -> None:
    modality = "text" if spec == "bow" else "image"
    with pytest.raises(UsageError, match=f"{spec!r} learns from data"):
        make_encoder(spec, modality=modality)  # type: ignore[arg-type]


def test_a_saved_encoder_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, Announced(["a"]), {})
    with pytest.raises(ModelError, match=r"'announced', which is not installed; known: .*bow"):
        load_encoder(tmp_path)


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys; from proxyhash.encoders import ENCODERS; list(ENCODERS); "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'scipy', 'h5py') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture
def audio() -> Iterator[str]:
    register_modality("audio", plural="sounds", is_file=True)
    yield "audio"
    MODALITIES.remove("audio")


class Loudness(BatchEncoder):
    """Toy encoder of a third modality: how many bytes a file has, and the first of them."""

    kind: ClassVar[str] = "loudness"
    modalities: ClassVar[tuple[str, ...]] = ("audio",)
    modality = "audio"
    dim = 2
    fingerprint = "10" * 32

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Loudness:
        return cls()

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Loudness:
        return cls()

    def save(self, folder: Path) -> None:
        write_settings(folder, self, {})

    def prepare(self, source: Path) -> bytes:
        try:
            return source.read_bytes()
        except OSError as error:
            raise SourceError(f"{source}: cannot be read") from error

    def embed(self, prepared: Sequence[bytes]) -> NDArray[np.float32]:
        return np.array([(len(each), each[0]) for each in prepared], np.float32)


@pytest.fixture
def loudness(audio: str) -> Iterator[str]:
    register_encoder(Loudness)
    yield audio
    ENCODERS.remove("loudness")


@pytest.fixture
def sounds(loudness: str, tmp_path: Path) -> Collection:
    (tmp_path / "a.wav").write_bytes(b"abc")
    rows = [{"id": "a", loudness: "a.wav"}, {"id": "b", "text": "x"}, {"id": "c", loudness: "gone"}]
    return read_collection(write_jsonl(tmp_path / "items.jsonl", rows))


def test_a_third_modality_is_encoded(
    sounds: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = make_encoder("loudness", modality="audio")
    encoder.save(tmp_path / "saved")
    assert isinstance(make_encoder(str(tmp_path / "saved"), modality="audio"), Loudness)
    cache = FeatureCache(tmp_path / "cache")
    for _ in range(2):
        features = encode_collection(encoder, sounds, cache=cache, on_bad_item="skip")
        assert features.present.tolist() == [True, False, False]
        assert features.values.tolist() == [[3, ord("a")], [0, 0], [0, 0]]
    assert "1 audio cannot be read" in caplog.text
    with pytest.raises(SourceError, match=r"row 3, item 'c': .*gone: cannot be read"):
        encode_collection(encoder, sounds)


def test_features_from_a_file_stand_for_any_modality(sounds: Collection, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((3, 5)))
    encoder = make_encoder(f"features:{tmp_path / 'rows.npy'}", modality="audio")
    assert encode_collection(encoder, sounds).values.shape == (3, 5)


@pytest.mark.usefixtures("loudness")
@pytest.mark.parametrize(
    ("spec", "modality", "message"),
    [
        ("bow", "audio", "'bow' does not encode sounds; features, loudness do"),
        ("loudness", "text", r"'loudness' does not encode texts; bow, features, .* do"),
        ("some/model", "audio", "no encoder around pretrained models for sounds; features, loud"),
    ],
)
def test_encoders_are_listed_by_modality(spec: str, modality: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_encoder(spec, modality=modality)
