from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from proxyhash.encoders import (
    BagOfWords,
    Encoder,
    encoder_kinds,
    load_encoder,
    make_encoder,
    register_encoder,
    registry,
)
from proxyhash.encoders.folder import write_settings
from proxyhash.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


class Announced(BagOfWords):
    """Stands for an encoder of another package."""

    kind: ClassVar[str] = "announced"


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("announced", f"{__name__}:Announced", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]))


@pytest.mark.usefixtures("announced")
def test_other_packages_announce_encoders(tmp_path: Path, scenes: Collection) -> None:
    assert encoder_kinds()["announced"] is Announced
    made = make_encoder("announced", modality="text", collection=scenes, train=np.arange(9))
    made.save(tmp_path)
    assert isinstance(load_encoder(tmp_path), Announced)


def test_a_kind_is_given_once() -> None:
    class Second(BagOfWords):
        """Another class of the same kind."""

    with pytest.raises(ValueError, match="BagOfWords already is the encoder 'bow'"):
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
        ("bow:words=x", "a whole number"),
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
        "import sys, proxyhash.encoders; "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'scipy', 'h5py') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
