"""Named protocols of the literature: the version of a data set, and the sizes of its split.

Papers on the same data set differ in the pairs that they keep, and in how many of them they hold
out; a protocol fixes both. The queries are drawn by the seed, as in the papers: the ids that they
drew were not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.data.draw import draw_split
from proxyhash.errors import DataError, check_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data.collection import Collection
    from proxyhash.data.split import Split

__all__ = ["PROTOCOLS", "VERSIONS", "DataSetVersion", "SplitProtocol", "get_protocol"]


@dataclass(frozen=True, slots=True)
class DataSetVersion:
    """Version of a data set: the pairs that some papers keep.

    Attributes:
        data_set: its name.
        pairs: number of pairs.
        classes: number of classes.
        words: which pairs they are, or who keeps them, after "the version".
        convert: the option of `proxyhash data convert` that makes it; empty if none does.
    """

    data_set: str
    pairs: int
    classes: int
    words: str
    convert: str = ""

    def __str__(self) -> str:
        return f"{self.data_set} with {self.pairs:,} pairs, the version {self.words}"


_MIRFLICKR, _NUS_WIDE, _COCO, _IAPR = "MIRFLICKR-25K", "NUS-WIDE", "MS COCO", "IAPR TC-12"

VERSIONS = (
    DataSetVersion(_MIRFLICKR, 20_015, 24, "of DCMH", "--version dcmh"),
    DataSetVersion(_MIRFLICKR, 24_581, 24, "of DCHMT", "--version dchmt"),
    DataSetVersion(_MIRFLICKR, 25_000, 24, "as downloaded", "--version all"),
    DataSetVersion(_MIRFLICKR, 25_000, 38, "that counts the lists *_r1 as classes"),
    DataSetVersion(_NUS_WIDE, 195_834, 21, "TC-21 of DCMH", "--version tc21"),
    DataSetVersion(_NUS_WIDE, 190_421, 21, "TC-21 of pairs with tags", "--version tc21-tagged"),
    DataSetVersion(_NUS_WIDE, 186_577, 10, "TC-10 of DCMH", "--version tc10"),
    DataSetVersion(_NUS_WIDE, 181_365, 10, "TC-10 of pairs with tags", "--version tc10-tagged"),
    DataSetVersion(_NUS_WIDE, 269_648, 81, "as downloaded", "--version all"),
    DataSetVersion(_COCO, 122_218, 80, "of images with a label", "--version labeled"),
    DataSetVersion(_COCO, 123_287, 80, "as downloaded", "--version all"),
    DataSetVersion(_IAPR, 20_000, 255, "of DCMH", "--version saiapr"),
    DataSetVersion(_IAPR, 19_627, 291, "with keywords of the descriptions as classes"),
    DataSetVersion("Wikipedia", 2_866, 10, "of Rasiwasia et al."),
)
"""Known versions; `docs/datasets.md` has the source of each number."""


@dataclass(frozen=True, slots=True)
class SplitProtocol:
    """Split of one version of a data set, as a family of papers draws it.

    Attributes:
        name: what `--protocol` calls it.
        data_set: the name of the data set.
        pairs: number of pairs the collection must have; None if sources do not agree.
        classes: number of classes it must have.
        query: number of queries; the rest is the gallery.
        train: number of training pairs in the gallery, validation included.
        source: the paper that the numbers are from.
    """

    name: str
    data_set: str
    pairs: int | None
    classes: int
    query: int
    train: int
    source: str

    def fits(self, collection: Collection) -> bool:
        """Return whether the collection has the right numbers of pairs and classes."""
        return len(collection.classes) == self.classes and self.pairs in (None, len(collection))

    def draw(self, collection: Collection, *, validation: int, seed: int) -> Split:
        """Return the protocol's split by `draw_split`; `validation` is held out of train.

        Raises:
            DataError: the collection has other numbers of pairs or classes; says which version
                it looks like and how to make the right one.
            UsageError: too few pairs are complete.
        """
        if not self.fits(collection):
            raise DataError(f"{collection.path} {self._mismatch(collection)}")
        return draw_split(
            collection, query=self.query, train=self.train, validation=validation, seed=seed
        )

    def _mismatch(self, collection: Collection) -> str:
        pairs, classes = len(collection), len(collection.classes)
        known = [each for each in VERSIONS if (each.pairs, each.classes) == (pairs, classes)]
        if known:
            looks = f"looks like {known[0]}"
        else:
            looks = f"has {pairs:,} items of {classes} classes, which is not a known version"
        wanted = next((each for each in VERSIONS if self._is(each)), None)
        count = "" if self.pairs is None else f"{self.pairs:,} pairs of "
        how = f": convert with {wanted.convert}" if wanted and wanted.convert else ""
        return (
            f"{looks}; protocol {self.name} needs {self.data_set} with {count}{self.classes} "
            f"classes{how}"
        )

    def _is(self, version: DataSetVersion) -> bool:
        return (version.data_set, version.classes) == (self.data_set, self.classes) and (
            self.pairs in (None, version.pairs)
        )


_DCMH = "Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017"
_AS_DCMH = f"the sizes of {_DCMH}"
_DCHMT = "Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022"

PROTOCOLS: Mapping[str, SplitProtocol] = {
    protocol.name: protocol
    for protocol in (
        SplitProtocol("dcmh-mirflickr", _MIRFLICKR, 20_015, 24, 2_000, 10_000, _DCMH),
        SplitProtocol("dcmh-nuswide", _NUS_WIDE, 195_834, 21, 2_100, 10_500, _DCMH),
        SplitProtocol("dcmh-nuswide-tagged", _NUS_WIDE, 190_421, 21, 2_100, 10_500, _AS_DCMH),
        SplitProtocol("dcmh-nuswide-tc10", _NUS_WIDE, 186_577, 10, 2_100, 10_500, _AS_DCMH),
        SplitProtocol("dcmh-iaprtc12", _IAPR, 20_000, 255, 2_000, 10_000, _DCMH),
        SplitProtocol("dchmt-mirflickr", _MIRFLICKR, 24_581, 24, 5_000, 10_000, _DCHMT),
        SplitProtocol("dchmt-nuswide", _NUS_WIDE, None, 21, 5_000, 10_000, _DCHMT),
        SplitProtocol("dchmt-coco", _COCO, 122_218, 80, 5_000, 10_000, _DCHMT),
    )
}
"""Protocols by name; `docs/datasets.md` has the commands for each."""


def get_protocol(name: str) -> SplitProtocol:
    """Return the protocol called `name`.

    Raises:
        UsageError: "protocol is 'NAME'; it must be one of ...".
    """
    return PROTOCOLS[check_option("protocol", name, PROTOCOLS)]
