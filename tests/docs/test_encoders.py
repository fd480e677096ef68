"""docs/encoders.md names the known models as the program does."""

from __future__ import annotations

import re

from proxyhash.data import MODALITIES
from proxyhash.encoders.known import KNOWN_MODELS
from proxyhash.encoders.recipe import ACTIVATIONS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_program() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| `([^`]+)` \| (\w+) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE
    )
    wanted = [
        (each.name, each.hub_id, MODALITIES[modality].plural, each.size, each.license, each.purpose)
        for modality, known in KNOWN_MODELS.items()
        for each in known
    ]
    assert rows == wanted


def test_activations_are_all_named() -> None:
    assert f"one of {', '.join(ACTIVATIONS)};" in PAGE
