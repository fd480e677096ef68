"""Yardsticks: the vectors of a space in few bytes, by FAISS and by plain signs.

Matthijs Douze et al.: The Faiss library, arXiv 2401.08281. FAISS makes the codes, says how many
bytes one takes, and turns them back into vectors; the query stays real-valued, and the inner
product with those vectors is the similarity that FAISS's own search computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.codes import binarize, code_bytes
from proxyhash.errors import require_extra
from proxyhash.methods.cca_itq import itq_rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxyhash.bench.spaces import Space, Vectors
    from proxyhash.codes import Codes
    from proxyhash.data import Modality

__all__ = ["CENTROIDS", "Bits", "Decoded", "load_faiss", "quantize"]

CENTROIDS = 256
"""Centroids of a part of a vector in PQ, one byte; PQ and OPQ need as many training items."""

_OPQ_ROUNDS = 10  # FAISS has 50, which take minutes
_OPQ_WIDTH = 128  # principal components that OPQ turns, as FAISS's own recipes reduce vectors first


@dataclass(frozen=True, eq=False)
class Bits:
    """Codes that are compared by Hamming distance.

    Attributes:
        name: of the yardstick.
        bits: code length.
        codes: packed, uint8 (n, B), by modality.
    """

    name: str
    bits: int
    codes: Mapping[Modality, Codes]

    @property
    def bytes_per_item(self) -> dict[Modality, int]:
        """Bytes of one item, by modality."""
        return dict.fromkeys(self.codes, code_bytes(self.bits))


@dataclass(frozen=True, eq=False)
class Decoded:
    """Codes that are compared by inner product with a real-valued query.

    Attributes:
        name: of the yardstick.
        bytes_per_item: of one item, by modality, as FAISS says.
        query: vectors of the queries, float32 (n, d), by modality.
        gallery: vectors that the codes stand for, float32 (n, d), by modality.
    """

    name: str
    bytes_per_item: Mapping[Modality, int]
    query: Mapping[Modality, Vectors]
    gallery: Mapping[Modality, Vectors]


def load_faiss() -> Any:
    """Return the module.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require_extra("faiss", extra="faiss", purpose="the [yardsticks] of a suite")


def quantize(
    space: Space, lengths: Sequence[int], *, seed: int, signs: bool = True
) -> Iterator[Bits | Decoded]:
    """Yield every yardstick of a space: at the bytes of each code length, and the ceilings.

    Codebooks, rotations and ranges are learned from the training items, without labels; PQ's and
    OPQ's per modality. What a space or the number of training items is too small for is left out.

    Args:
        space: the vectors.
        lengths: code lengths that yardsticks equal in bytes; RaBitQ takes 8 bytes more.
        seed: of rotations and clusters.
        signs: False leaves out those that are compared by Hamming distance.
    """
    faiss = load_faiss()
    if signs:
        yield from _signs(space, lengths, seed=seed)
    yield from _product(faiss, space, lengths, seed=seed)
    for bits in lengths:
        reduced = space.reduced(bits)
        if reduced is not None:
            yield _with_offsets(reduced, partial(_rabitq, faiss, seed=seed))
    yield _coded("int8", space, partial(_int8, faiss))
    yield _coded("float32", space, faiss.IndexFlatIP)


def _signs(space: Space, lengths: Sequence[int], *, seed: int) -> Iterator[Bits]:
    """Yield signs, of all coordinates or of the first K, and ITQ of K."""
    if not space.ordered:
        for width in {vectors.shape[1] for vectors in space.vectors.values()}:
            own = {m: v for m, v in space.vectors.items() if v.shape[1] == width}
            yield Bits("sign", width, {m: binarize(v) for m, v in own.items()})
    for bits in lengths:
        reduced = space.reduced(bits)
        if reduced is None:
            continue
        if space.ordered:
            yield Bits("sign", bits, {m: binarize(v) for m, v in reduced.vectors.items()})
        codes: dict[Modality, Codes] = {}
        for group in dict.fromkeys(map(reduced.group, reduced.vectors)):
            train = np.concatenate([reduced.training(each) for each in group])
            stacked = torch.from_numpy(train.astype(np.float64))
            rotation = itq_rotation(stacked, bits, seed=seed).numpy()
            codes |= {each: binarize(reduced.vectors[each] @ rotation) for each in group}
        yield Bits("ITQ", bits, codes)


def _product(faiss: Any, space: Space, lengths: Sequence[int], *, seed: int) -> Iterator[Decoded]:
    """Yield PQ and OPQ of as many bytes as each code length takes."""
    fewest = min(len(space.training(modality)) for modality in space.vectors)
    for parts in dict.fromkeys(code_bytes(bits) for bits in lengths):
        if parts > space.width or fewest < CENTROIDS:
            continue
        padded = _padded(space, parts)
        yield _coded("PQ", padded, partial(_pq, faiss, parts=parts, seed=seed))
        turned = space.reduced(min(_OPQ_WIDTH, space.width))
        if turned is not None:
            make = partial(_opq, faiss, parts=parts, seed=seed)
            yield _coded("OPQ", _padded(turned, parts), make)


def _padded(space: Space, parts: int) -> Space:
    """Return a space whose vectors have parts of equal width, by columns of zeros."""
    vectors = {
        modality: np.pad(given, [(0, 0), (0, -given.shape[1] % parts)])
        for modality, given in space.vectors.items()
    }
    return replace(space, vectors=vectors)


def _coded(name: str, space: Space, make: Callable[[int], Any]) -> Decoded:
    """Return the vectors that come back from an index per modality, trained on its own items."""
    gallery, sizes = {}, {}
    for modality, vectors in space.vectors.items():
        index = make(vectors.shape[1])
        index.train(space.training(modality))
        gallery[modality] = index.sa_decode(index.sa_encode(vectors))
        sizes[modality] = int(index.sa_code_size())
    return Decoded(name, sizes, space.vectors, gallery)


def _with_offsets(space: Space, make: Callable[[int], Any]) -> Decoded:
    """Return RaBitQ, whose similarity is that of the decoded vector plus what an item adds to any.

    FAISS estimates the product of what lies beyond the center, and has the rest from the numbers
    that are stored with the bits. That makes a number per item, the similarity of a query of 0,
    which is a coordinate more here.
    """
    coded = _coded("RaBitQ", space, make)
    query, gallery = {}, {}
    for modality, vectors in space.vectors.items():
        index = make(vectors.shape[1])
        index.train(space.training(modality))
        index.add(vectors)
        nothing = np.zeros((1, vectors.shape[1]), np.float32)
        values, rows = index.search(nothing, len(vectors))
        added = np.empty((len(vectors), 1), np.float32)
        added[rows[0], 0] = values[0]
        query[modality] = np.hstack([vectors, np.ones_like(added)])
        gallery[modality] = np.hstack([coded.gallery[modality], added])
    return replace(coded, query=query, gallery=gallery)


def _pq(faiss: Any, width: int, *, parts: int, seed: int) -> Any:
    index = faiss.IndexPQ(width, parts, 8, faiss.METRIC_INNER_PRODUCT)
    _quiet(index.pq, seed=seed)
    return index


def _opq(faiss: Any, width: int, *, parts: int, seed: int) -> Any:
    turn = faiss.OPQMatrix(width, parts)
    turn.niter = _OPQ_ROUNDS
    turn.pq = faiss.ProductQuantizer(width, parts, 8)
    _quiet(turn.pq, seed=seed)
    return faiss.IndexPreTransform(turn, _pq(faiss, width, parts=parts, seed=seed))


def _quiet(quantizer: Any, *, seed: int) -> None:
    """Seed the clusters, and let FAISS be silent about few training items."""
    quantizer.cp.seed = seed + 1
    quantizer.cp.min_points_per_centroid = 1


def _rabitq(faiss: Any, width: int, *, seed: int) -> Any:
    turn = faiss.RandomRotationMatrix(width, width)
    turn.init(seed)
    index = faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT)
    index.qb = 0  # the query is not quantized, as in the others
    return faiss.IndexPreTransform(turn, index)


def _int8(faiss: Any, width: int) -> Any:
    kind = faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_INNER_PRODUCT)
