"""Short names of known models."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from proxyhash.encoders import make_encoder
from proxyhash.encoders.known import KNOWN_MODELS, known_spec
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def test_short_names_are_unique_and_stand_for_hub_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXYHASH_MODELS", raising=False)
    for modality, known in KNOWN_MODELS.items():
        names = [each.name for each in known]
        assert len(set(names)) == len(names)
        assert not any("/" in name or ":" in name for name in names)
        for each in known:
            assert known_spec(each.name, modality) == each.hub_id
    assert known_spec("dinov2", "text") is None
    assert known_spec("google/siglip2-base-patch16-224", "image") is None


def test_a_copy_on_this_machine_comes_before_the_hub(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYHASH_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"all-MiniLM-L6-v2 .* could not be fetched"):
        make_encoder("minilm", modality="text")
    shutil.copytree(bert, tmp_path / "all-MiniLM-L6-v2")
    found = make_encoder("minilm", modality="text")
    assert found.fingerprint == make_encoder(str(bert), modality="text").fingerprint


def test_a_folder_of_that_name_comes_first(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bert, tmp_path / "qwen3")
    assert make_encoder("qwen3", modality="text").dim == 20
