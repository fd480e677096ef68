"""Yardsticks against plain FAISS, numpy and slow loops."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from proxyhash.bench import quantizers
from proxyhash.bench.quantizers import Bits, Decoded, quantize
from proxyhash.bench.spaces import Space, unit_rows
from proxyhash.codes import unpack
from proxyhash.errors import MissingExtraError

COUNT, TRAIN, WIDTH = 420, 300, 24


def made(*, ordered: bool = True, shared: bool = True, train: int = TRAIN) -> Space:
    """Two modalities that are noisy copies of each other, the first coordinates the largest."""
    random = np.random.default_rng(5)
    base = random.normal(size=(COUNT, WIDTH)) * 0.9 ** np.arange(WIDTH)
    present = np.ones(COUNT, bool)
    vectors = {
        modality: unit_rows(base + 0.3 * random.normal(size=base.shape), present)
        for modality in ("image", "text")
    }
    gone = present.copy()
    gone[::50] = False
    vectors["text"][~gone] = 0
    return Space(
        vectors, {"image": present, "text": gone}, np.arange(train), shared=shared, ordered=ordered
    )


@pytest.fixture(scope="module")
def every() -> list[Bits | Decoded]:
    return list(quantize(made(), [8, 16], seed=3))


def named(every, name, size=None):
    return next(
        each for each in every if each.name == name and size in {None, each.bytes_per_item["image"]}
    )


def test_bytes_are_counted_as_they_are(every):
    found = [(each.name, each.bytes_per_item["text"]) for each in every]
    assert found == [
        *(("sign", 1), ("ITQ", 1), ("sign", 2), ("ITQ", 2)),
        *(("PQ", 1), ("OPQ", 1), ("PQ", 2), ("OPQ", 2)),
        *(("RaBitQ", 1 + 8), ("RaBitQ", 2 + 8), ("int8", WIDTH), ("float32", 4 * WIDTH)),
    ]


def test_signs_are_those_of_the_first_coordinates(every):
    codes = unpack(named(every, "sign", 2).codes["image"], bits=16)
    assert (codes == (made().vectors["image"][:, :16] > 0)).all()


def test_itq_turns_both_modalities_alike_and_lowers_the_error(every):
    # The rotation is found again by least squares from bits to vectors of both modalities: one
    # rotation explains the bits of both about as well as each its own.
    space, itq = made().reduced(16), named(every, "ITQ", 2)
    signs = {m: 2.0 * unpack(itq.codes[m], bits=16) - 1 for m in ("image", "text")}
    there = space.present["text"]
    one = np.concatenate([space.vectors["image"][there], space.vectors["text"][there]])
    both = np.concatenate([signs["image"][there], signs["text"][there]])
    left, _, right = np.linalg.svd(one.T @ both)
    agreed = ((one @ (left @ right) > 0) == (both > 0)).mean()
    assert agreed > 0.95

    def error(turned):
        return ((turned - np.sign(turned) * np.abs(turned).mean()) ** 2).sum()

    assert error(one @ (left @ right)) < error(one)


@pytest.mark.parametrize(("name", "size"), [("PQ", 2), ("OPQ", 2), ("RaBitQ", 10), ("int8", WIDTH)])
def test_similarities_are_those_of_faiss(every, name, size):
    # FAISS's own search over an index of the same kind, made here from its textual description.
    each = named(every, name, size)
    space = made().reduced(16) if name == "RaBitQ" else made()
    train, gallery = space.training("text"), space.vectors["text"]
    index = faiss.index_factory(
        space.width,
        {"PQ": "PQ2", "OPQ": "OPQ2,PQ2", "RaBitQ": "RR16,RaBitQ", "int8": "SQ8"}[name],
        faiss.METRIC_INNER_PRODUCT,
    )
    inner = faiss.downcast_index(index.index) if name in {"OPQ", "RaBitQ"} else index
    if name == "RaBitQ":
        inner.qb = 0
        faiss.downcast_VectorTransform(index.chain.at(0)).init(3)
        index.chain.at(0).is_trained = True
    elif name != "int8":
        inner.pq.cp.seed, inner.pq.cp.min_points_per_centroid = 4, 1
    if name == "OPQ":
        turn = faiss.downcast_VectorTransform(index.chain.at(0))
        turn.niter = 10
        turn.pq = quantizer = faiss.ProductQuantizer(space.width, 2, 8)
        quantizer.cp.seed, quantizer.cp.min_points_per_centroid = 4, 1
    index.train(train)
    index.add(gallery)
    queries = space.vectors["image"][TRAIN:]
    values, rows = index.search(queries, COUNT)
    ours = each.query["image"][TRAIN:] @ each.gallery["text"].T
    assert np.abs(np.take_along_axis(ours, rows, 1) - values).max() < 1e-4
    assert np.allclose(each.query["image"][TRAIN:, : queries.shape[1]], queries, atol=1e-6)


def test_an_item_is_stored_as_one_of_256_vectors_per_byte(every):
    gallery = named(every, "PQ", 2).gallery["image"]
    for part in (slice(0, 12), slice(12, 24)):
        assert len(np.unique(gallery[:, part], axis=0)) <= 256


def test_int8_steps_are_a_255th_of_the_range(every):
    space, stored = made(), named(every, "int8").gallery["image"]
    train = space.training("image")
    step = (train.max(axis=0) - train.min(axis=0)) / 255
    inside = np.clip(space.vectors["image"], train.min(axis=0), train.max(axis=0))
    assert (np.abs(stored - inside) <= 0.51 * step + 1e-6).all()


def test_floats_are_stored_as_they_are(every):
    stored = named(every, "float32").gallery
    assert all((stored[m] == made().vectors[m]).all() for m in stored)


def test_what_a_space_is_too_small_for_is_left_out():
    few = {each.name for each in quantize(made(train=200), [8], seed=0)}
    assert few == {"sign", "ITQ", "RaBitQ", "int8", "float32"}
    wide = [each for each in quantize(made(), [8, 32], seed=0) if isinstance(each, Bits)]
    assert [each.bits for each in wide] == [8, 8]  # there are 24 coordinates


def test_modalities_apart_are_turned_apart():
    space = made(ordered=False, shared=False)
    assert list(space.directions) == ["image_to_image", "text_to_text"]
    reduced = space.reduced(4)
    rows = space.training("image").astype(np.float64)
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    plain = (space.vectors["image"] - rows.mean(axis=0)) @ axes[:4].T
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.abs(np.abs(reduced.vectors["image"]) - np.abs(plain)).max() < 1e-3
    (whole,) = [each for each in quantize(space, [8], seed=0) if each.name == "sign"]
    assert whole.bits == WIDTH


def test_signs_of_outputs_are_left_to_the_codes():
    found = {each.name for each in quantize(made(ordered=False), [8], seed=0, signs=False)}
    assert found == {"PQ", "OPQ", "RaBitQ", "int8", "float32"}


def test_without_faiss_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"\[yardsticks\] of a suite.*proxyhash\[faiss\]"):
        next(quantize(made(), [8], seed=0))
    assert quantizers.CENTROIDS == 256
