"""The protocol: checked on entry, and the same after a trip through JSON."""

from __future__ import annotations

import json

import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.evaluation import Protocol


def test_json_and_back() -> None:
    protocol = Protocol(ties="stable", cutoff=5000, divisor="min", gallery="strict", empty="zero")
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol
    assert Protocol.from_dict({}) == Protocol()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ties": "expectd"}, "ties is 'expectd'; .*did you mean 'expected'"),
        ({"divisor": "all"}, "divisor is 'all'; it must be one of hits, min, relevant"),
        ({"gallery": "full"}, "gallery is 'full'; it must be one of literature, strict"),
        ({"cutoff": 0}, "cutoff is 0; it must be at least 1, or None"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Protocol(**values)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(DataError, match="unknown key 'tie' in a protocol; did you mean 'ties'"):
        Protocol.from_dict({"tie": "stable"})
    with pytest.raises(DataError, match=r"unknown key 'color' in a protocol$"):
        Protocol.from_dict({"color": "red"})


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (Protocol(), "mAP@all"),
        (Protocol(cutoff=50), "mAP@50 / hits"),
        (Protocol(cutoff=5000, divisor="relevant"), "mAP@5000 / relevant"),
    ],
)
def test_name(protocol: Protocol, name: str) -> None:
    assert protocol.name == name
