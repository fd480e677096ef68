"""Named protocols: the numbers of the literature, and what is said where a collection differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxyhash.data import Collection, Item, draw_split
from proxyhash.data.protocols import PROTOCOLS, VERSIONS, get_protocol
from proxyhash.datasets import CONVERTERS
from proxyhash.errors import DataError, UsageError


def collection_of(pairs: int, classes: int) -> Collection:
    items = [
        Item(str(number), {"image": "a.jpg", "text": "words"}, labels=(f"c{number % classes:02d}",))
        for number in range(pairs)
    ]
    return Collection.of(Path("somewhere/items.jsonl"), items)


@pytest.mark.parametrize(
    ("name", "pairs", "classes", "query", "train", "gallery"),
    [
        ("dcmh-mirflickr", 20015, 24, 2000, 10000, 18015),
        ("dcmh-nuswide", 195834, 21, 2100, 10500, 193734),
        ("dcmh-iaprtc12", 20000, 255, 2000, 10000, 18000),
        ("dchmt-mirflickr", 24581, 24, 5000, 10000, 19581),
        ("dchmt-coco", 122218, 80, 5000, 10000, 117218),
    ],
)
def test_numbers(name: str, pairs: int, classes: int, query: int, train: int, gallery: int) -> None:
    protocol = get_protocol(name)
    assert (protocol.pairs, protocol.classes) == (pairs, classes)
    assert (protocol.query, protocol.train, pairs - protocol.query) == (query, train, gallery)


def test_the_draw_is_that_of_the_sizes() -> None:
    collection = collection_of(20_015, 24)
    protocol = get_protocol("dcmh-mirflickr")
    split = protocol.draw(collection, validation=500, seed=3)
    expected = draw_split(collection, query=2000, train=10_000, validation=500, seed=3)
    assert split.fingerprint(collection) == expected.fingerprint(collection)
    assert (len(split.query), len(split.gallery)) == (2000, 18_015)
    assert (len(split.train), len(split.validation)) == (9500, 500)


@pytest.mark.parametrize(
    ("pairs", "classes", "protocol", "says"),
    [
        (
            24_581,
            24,
            "dcmh-mirflickr",
            "looks like MIRFLICKR-25K with 24,581 pairs, the version of DCHMT; protocol "
            "dcmh-mirflickr needs MIRFLICKR-25K with 20,015 pairs of 24 classes: convert with "
            "--version dcmh",
        ),
        (
            20_015,
            24,
            "dchmt-coco",
            "looks like MIRFLICKR-25K with 20,015 pairs, the version of DCMH; protocol dchmt-coco "
            "needs MS COCO with 122,218 pairs of 80 classes: convert with --version labeled",
        ),
        (
            19_627,
            291,
            "dcmh-iaprtc12",
            "looks like IAPR TC-12 with 19,627 pairs, the version with keywords of the "
            "descriptions as classes; protocol dcmh-iaprtc12 needs IAPR TC-12 with 20,000 pairs of "
            "255 classes: convert with --version saiapr",
        ),
        (
            100,
            3,
            "dchmt-nuswide",
            "has 100 items of 3 classes, which is not a known version; protocol dchmt-nuswide "
            "needs NUS-WIDE with 21 classes: convert with --version tc21",
        ),
    ],
)
def test_another_version(pairs: int, classes: int, protocol: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        get_protocol(protocol).draw(collection_of(pairs, classes), validation=0, seed=0)
    assert str(caught.value) == f"somewhere/items.jsonl {says}"


def test_pairs_are_not_counted_where_sources_differ() -> None:
    protocol = get_protocol("dchmt-nuswide")
    assert protocol.fits(collection_of(100, 21))
    assert protocol.fits(collection_of(200, 21))
    assert not replace(protocol, pairs=100).fits(collection_of(200, 21))


def test_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'dcmh-mirflickr'"):
        get_protocol("dcmh-mirflicker")
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_every_protocol_has_a_version_that_a_converter_makes() -> None:
    offered = {
        f"--version {name}"
        for each in (each for _, each in CONVERTERS.items())
        for name in each.versions
    }
    assert {version.convert for version in VERSIONS} - {""} <= offered
    made = {(each.data_set, each.pairs, each.classes) for each in VERSIONS if each.convert}
    for protocol in PROTOCOLS.values():
        if protocol.pairs is not None:
            assert (protocol.data_set, protocol.pairs, protocol.classes) in made
