"""Queries and options that cannot be used are refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import proxyhash as ph
from proxyhash.errors import UsageError


@pytest.fixture
def index() -> ph.Index:
    index = ph.open_index(None, bits=8)
    index.add(["a"], np.array([[3]], np.uint8))
    return index


@pytest.mark.parametrize("code", [[3], b"\x03", 3])
def test_a_code_is_an_array_or_hex_digits(code: Any):
    with pytest.raises(UsageError, match="hex digits, are expected"):
        ph.Query(code=code)


def test_a_code_is_of_a_known_modality(index: ph.Index):
    for modality in ("code", "image"):
        (answer,) = ph.search_many(index, [ph.Query(code="03", modality=modality)])
        assert [hit.id for hit in answer.hits] == ["a"]
    with pytest.raises(UsageError, match="modality is 'imge'"):
        ph.search_many(index, [ph.Query(code="03", modality="imge")])


def test_a_text_is_a_string():
    with pytest.raises(UsageError, match="the text is 3"):
        ph.Query(text=3)  # type: ignore[arg-type]


def test_a_query_is_made_with_its_class(index: ph.Index):
    for queries in (["a dog"], "a dog"):
        with pytest.raises(UsageError, match=r"make each with proxyhash\.Query"):
            ph.search_many(index, queries)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"k": "3"}, {"k": 2.5}, {"k": True}, {"radius": 0.5}, {"filter": "a = 1"}, {"filter": {}}],
)
def test_options_of_another_type_are_refused(options: dict[str, Any]):
    with pytest.raises(UsageError, match=r"whole number|parse_filter_text"):
        ph.SearchOptions(**options)


def test_a_code_length_is_a_number():
    with pytest.raises(UsageError, match="bits is '64'"):
        ph.open_index(None, bits="64")  # type: ignore[arg-type]
