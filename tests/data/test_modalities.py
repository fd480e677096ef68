"""Modalities by name: what is registered becomes a key of every manifest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.data import MODALITIES, read_collection, register_modality
from proxyhash.data.item import item_keys
from proxyhash.errors import ManifestError
from tests.data.builders import write_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def audio() -> Iterator[str]:
    register_modality("audio", plural="sounds", is_file=True)
    yield "audio"
    MODALITIES.remove("audio")


def test_image_and_text_come_first(audio: str) -> None:
    assert list(MODALITIES) == ["image", "text", audio]
    assert item_keys() == ("id", "image", "text", audio, "labels", "split")
    kinds = [(kind.one, kind.plural, kind.is_file) for _, kind in MODALITIES.items()]
    assert kinds == [
        ("an image", "images", True),
        ("a text", "texts", False),
        ("an audio", "sounds", True),
    ]


def test_a_third_modality_is_a_key_of_the_manifest(audio: str, tmp_path: Path) -> None:
    records = [
        {"id": "a", "audio": "sounds/a.wav", "text": "rain", "loud": True},
        {"id": "b", "image": "b.jpg", "audio": "  "},
    ]
    collection = read_collection(write_jsonl(tmp_path / "items.jsonl", records))
    assert collection.modalities == ("image", "text", audio)
    assert collection.sources(audio) == [tmp_path / "sounds/a.wav", None]
    assert np.array_equal(collection.has(audio), [True, False])
    assert [item.payload for item in collection.items] == [{"loud": True}, {}]


@pytest.mark.usefixtures("audio")
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://example.org/a.wav", "audio is the address 'https://example.org/a.wav'"),
        ({"bytes": "UklG"}, "audio holds content, not the path of a file; save sounds as files"),
        (3, "audio is 3"),
    ],
)
def test_files_are_checked_as_images_are(value: object, says: str, tmp_path: Path) -> None:
    manifest = write_jsonl(tmp_path / "items.jsonl", [{"id": "a", "audio": value}])
    with pytest.raises(ManifestError, match=re.escape(says)):
        read_collection(manifest)


def test_without_registration_the_key_is_payload(tmp_path: Path) -> None:
    manifest = write_jsonl(tmp_path / "items.jsonl", [{"id": "a", "text": "x", "audio": "a.wav"}])
    collection = read_collection(manifest)
    assert collection.items[0].payload == {"audio": "a.wav"}
    assert collection.modalities == ("text",)


@pytest.mark.parametrize("name", ["labels", "id", "Image", "a b", ""])
def test_unsuitable_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a modality"):
        register_modality(name)


def test_a_name_is_registered_once(audio: str) -> None:
    same = register_modality(audio, plural="sounds", is_file=True)
    assert same is MODALITIES[audio]
    with pytest.raises(ValueError, match="another modality is already named 'audio'"):
        register_modality(audio)
