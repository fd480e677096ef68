from __future__ import annotations

import pytest

from proxyhash.encoders.base import read_options
from proxyhash.errors import UsageError

DEFAULTS = {"words": 5, "normalize": False, "weighting": "binary"}


@pytest.mark.parametrize(
    ("argument", "changed"),
    [
        ("", {}),
        ("words=7", {"words": 7}),
        ("normalize=true,words=9", {"normalize": True, "words": 9}),
        (" weighting = tfidf , normalize = No ", {"weighting": "tfidf"}),
        ("words=1,words=2", {"words": 2}),
    ],
)
def test_options_take_the_type_of_their_default(argument: str, changed: dict[str, object]) -> None:
    assert read_options("bow", argument, DEFAULTS) == {**DEFAULTS, **changed}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("word=7", "did you mean 'words'"),
        ("words", "words has no value"),
        ("words=many", "bow:words is 'many'; an integer"),
        ("normalize=maybe", "bow:normalize is 'maybe'"),
    ],
)
def test_wrong_options_are_named(argument: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_options("bow", argument, DEFAULTS)
