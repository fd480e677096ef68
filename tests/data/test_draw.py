"""Drawing splits: who is drawn, that the seed decides, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.data import Collection, Split, draw_split, manifest_split, split_sizes
from proxyhash.data.draw import follow_manifest
from proxyhash.errors import ManifestError, UsageError
from tests.data.builders import collection_of
from tests.shared_data import shared_path

UNEVEN = collection_of(60, labels=[("dog",), (), ("cat",)])
UNEVEN = Collection.of(
    UNEVEN.path,
    [
        replace(item, sources={"image": item.sources["image"]}) if place % 5 == 0 else item
        for place, item in enumerate(UNEVEN.items)
    ],
)
"""60 items: a third without labels, a fifth without a text; 32 have everything."""


def assert_parts_fit(split: Split, count: int) -> None:
    query, train, validation = (set(part) for part in (split.query, split.train, split.validation))
    assert set(split.gallery) == set(range(count)) - query
    assert set(split.strict_gallery) == set(range(count)) - query - train - validation
    assert not query & train
    assert not train & validation
    assert not query & validation
    for part in (split.query, split.gallery, split.train, split.validation, split.strict_gallery):
        assert part.dtype == np.int64
        assert part.tolist() == sorted(part.tolist())


class TestDrawn:
    @given(
        query=st.integers(0, 15),
        train=st.none() | st.integers(16, 20),
        validation=st.integers(0, 8),
        seed=st.integers(0, 2**63),
    )
    def test_parts(self, query: int, train: int | None, validation: int, seed: int) -> None:
        split = draw_split(UNEVEN, query=query, train=train, validation=validation, seed=seed)
        assert_parts_fit(split, 60)
        assert len(split.query) == query
        assert len(split.validation) == validation
        teachers = np.concatenate([split.train, split.validation])
        assert len(teachers) == (40 - query if train is None else train)
        labeled = UNEVEN.labels.any(axis=1)
        assert labeled[split.query].all()
        assert labeled[teachers].all()
        assert UNEVEN.has("text")[split.query].all()
        assert UNEVEN.has("text")[split.validation].all()

    def test_the_seed_decides(self) -> None:
        numbers = {"query": 10, "train": 20, "validation": 5}
        first = draw_split(UNEVEN, **numbers, seed=3)
        again = draw_split(UNEVEN, **numbers, seed=3)
        other = draw_split(UNEVEN, **numbers, seed=4)
        assert first.fingerprint(UNEVEN) == again.fingerprint(UNEVEN)
        assert first.query.tolist() != other.query.tolist()

    def test_the_same_on_every_machine(self) -> None:
        # The ranks of 20 draws of PCG64(0): four queries, then train, then two for validation.
        split = draw_split(collection_of(20), query=4, train=8, validation=2, seed=0)
        assert split.query.tolist() == [2, 3, 11, 13]
        assert split.train.tolist() == [1, 8, 15, 17, 18, 19]
        assert split.validation.tolist() == [0, 6]

    def test_more_train_items_keep_the_queries(self) -> None:
        small = draw_split(UNEVEN, query=9, train=10, validation=3, seed=1)
        large = draw_split(UNEVEN, query=9, train=30, validation=3, seed=1)
        assert small.query.tolist() == large.query.tolist()
        teachers = set(small.train) | set(small.validation)
        assert teachers <= set(large.train) | set(large.validation)

    def test_features_alone_are_complete(self) -> None:
        bare = collection_of(12, image=False, text=False)
        assert len(draw_split(bare, query=4, train=None, validation=2, seed=0).query) == 4

    @pytest.mark.parametrize(
        ("numbers", "says"),
        [
            (
                {"query": 33},
                "33 queries were requested, but only 32 items have a label and an image",
            ),
            ({"train": 39}, "39 training items were requested, but only 38 labeled items are left"),
            ({"train": 10, "validation": 10}, "10 validation items were requested, but only"),
            ({"train": 3, "validation": 5}, "train is 3, which includes 5 validation items"),
            ({"train": 0}, "train is 0"),
            ({"query": -1}, "query is -1; 0 or more"),
            ({"seed": -1}, "seed is -1"),
        ],
    )
    def test_what_cannot_be_drawn(self, numbers: dict[str, int], says: str) -> None:
        wanted = {"query": 2, "train": None, "validation": 0, "seed": 0} | numbers
        with pytest.raises(UsageError, match=says):
            draw_split(UNEVEN, **wanted)


class TestFromManifest:
    def test_names(self) -> None:
        names = ("test", "train", "val", "database", None, "Query ", "validation")
        collection = collection_of(14, splits=names)
        split = manifest_split(collection, validation=3, seed=0)
        assert_parts_fit(split, 14)
        assert split.query.tolist() == [0, 5, 7, 12]
        assert split.train.tolist() == [1, 8]
        assert split.validation.tolist() == [2, 6, 9, 13]
        assert split.source == "manifest"

    def test_validation_is_carved_out_where_none_is_named(self) -> None:
        collection = collection_of(40, splits=("query", "train"))
        split = manifest_split(collection, validation=6, seed=2)
        assert (len(split.train), len(split.validation)) == (14, 6)
        assert set(split.validation) <= set(range(1, 40, 2))
        assert_parts_fit(split, 40)

    def test_train_items_without_labels_teach_nothing(self) -> None:
        collection = collection_of(6, labels=[("dog",), ()], splits=("query", "train", "train"))
        split = manifest_split(collection, validation=0, seed=0)
        assert split.query.tolist() == [0, 3]
        assert split.train.tolist() == [2, 4]
        assert split.strict_gallery.tolist() == [1, 5]

    def test_an_unknown_name_is_an_error_with_its_row(self) -> None:
        with pytest.raises(ManifestError, match="row 2: split is 'trian'; expected is query"):
            manifest_split(collection_of(4, splits=("query", "trian")), validation=0, seed=0)

    @pytest.mark.parametrize(
        ("splits", "missing"), [((None,), "query"), (("query", None), "train")]
    )
    def test_parts_that_nobody_is_in(self, splits: tuple[str | None, ...], missing: str) -> None:
        with pytest.raises(UsageError, match=f"assigns no {missing} items"):
            manifest_split(collection_of(4, splits=splits), validation=0, seed=0)

    def test_too_many_validation_items(self) -> None:
        with pytest.raises(UsageError, match="9 validation items were requested, but only 2 of"):
            manifest_split(collection_of(4, splits=("query", "train")), validation=9, seed=0)


@pytest.mark.shared
def halves(count: int, complete: int, *, split: str | None = None) -> Collection:
    """Items without labels, of which the first ones have both halves and the others one."""
    whole = collection_of(count, labels=[()], splits=(split,))
    return Collection.of(
        whole.path,
        [
            item
            if place < complete
            else replace(item, sources=dict([list(item.sources.items())[place % 2]]))
            for place, item in enumerate(whole.items)
        ],
    )


class TestMissingHalves:
    @pytest.mark.parametrize("complete", [4, 10, 12, 20, 29, 31, 40, 100, 300])
    @pytest.mark.parametrize("seed", range(5))
    def test_default_sizes_can_be_drawn_and_leave_pairs_to_learn_from(
        self, complete: int, seed: int
    ) -> None:
        collection = halves(300, complete)
        sizes = split_sizes(collection, unlabeled=True, validated=True)
        split = draw_split(
            collection,
            query=sizes.query,
            train=sizes.train,
            validation=sizes.validation,
            seed=seed,
            unlabeled=True,
        )
        assert_parts_fit(split, 300)
        assert (split.train < complete).sum() >= complete // 3
        assert len(split.query) >= 1
        assert set(split.query) | set(split.validation) <= set(range(complete))

    def test_where_all_are_complete_nothing_changes(self) -> None:
        sizes = split_sizes(collection_of(300), validated=True)
        assert (sizes.query, sizes.train, sizes.validation) == (30, 216, 10)

    def test_without_a_complete_item_the_way_out_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"no item with an image and a text.*text=none"):
            split_sizes(halves(40, 0), unlabeled=True)
        sizes = split_sizes(halves(40, 0), unlabeled=True, modalities=["image"])
        assert sizes.query == 4

    def test_a_manifest_with_few_complete_training_items_is_followed(self) -> None:
        collection = halves(300, 5, split="train")
        items = [replace(i, split="query") if n < 2 else i for n, i in enumerate(collection.items)]
        collection = Collection.of(collection.path, items)
        split = follow_manifest(collection, validation=None, seed=0, unlabeled=True, validated=True)
        assert len(split.validation) == 1
        assert set(split.validation) <= {2, 3, 4}


def test_the_numbers_of_the_real_photos() -> None:
    from proxyhash.data import read_collection

    collection = read_collection(shared_path("data/flickr8k"))
    split = draw_split(collection, query=1000, train=5000, validation=500, seed=0)
    assert_parts_fit(split, 7957)
    assert len(split.gallery) == 6957
    assert isinstance(collection.path, Path)
