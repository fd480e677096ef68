from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from proxyhash.methods import Rows
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.training.prepare import take_rows
from proxyhash.training.state import Networks
from proxyhash.training.validation import validation_scores
from tests.training.toy import make_rows


@pytest.fixture
def networks():
    return Networks(
        {
            "image": HashingNetwork(12, 32, hidden=(), dropout=0.5),
            "text": HashingNetwork(20, 32, hidden=(), dropout=0.5),
        }
    )


def distances(one, other):
    signs = [torch.where(logits > 0, 1.0, -1.0) for logits in (one, other)]
    return (signs[0].shape[1] - signs[0] @ signs[1].T) / 2


def precisions(relevant, distances):
    """Average precision of (trials, queries, items) without ties, shape (trials, queries)."""
    order = np.argsort(distances, axis=-1)
    found = np.take_along_axis(np.broadcast_to(relevant, distances.shape), order, axis=-1)
    hits = found.cumsum(axis=-1) / np.arange(1, found.shape[-1] + 1)
    return (hits * found).sum(axis=-1) / found.sum(axis=-1)


def test_scores_are_the_mean_over_queries_of_tied_rankings(networks):
    train, validation = make_rows(40, incomplete=True), make_rows(15, seed=1, incomplete=True)
    networks.train()
    scores = validation_scores(networks, validation, train)
    expected = {}
    for query, gallery in (("image", "text"), ("text", "image")):
        asked, searched = validation.present[query], train.present[gallery]
        apart = distances(
            networks[query].eval().logits(validation.features[query][asked]),
            networks[gallery].eval().logits(train.features[gallery][searched]),
        )
        relevant = validation.labels[asked] @ train.labels[searched].T > 0
        # 32 bits and few items: break the ties in every order by averaging over random ones.
        noise = np.random.default_rng(0).random((300, *apart.shape))
        values = precisions(relevant.numpy(), apart.detach().numpy() + noise * 0.5)
        first = -(apart.detach().numpy() + noise[0] * 0.5)
        theirs = [average_precision_score(*row) for row in zip(relevant, first, strict=True)]
        assert values[0] == pytest.approx(theirs)
        expected[f"{query}_to_{gallery}"] = values.mean()
    assert scores["image_to_text"] == pytest.approx(expected["image_to_text"], abs=2e-3)
    assert scores["text_to_image"] == pytest.approx(expected["text_to_image"], abs=2e-3)
    mean = (scores["image_to_text"] + scores["text_to_image"]) / 2
    assert scores["mean"] == pytest.approx(mean)


def test_many_training_items_stand_for_all(networks, monkeypatch):
    train, validation = make_rows(40, incomplete=True), make_rows(15, seed=1)
    (there,) = train.present["text"].nonzero(as_tuple=True)
    monkeypatch.setattr("proxyhash.training.validation._MOST_SEARCHED", 7)
    found = validation_scores(networks, validation, train)
    some = there[[len(there) * number // 7 for number in range(7)]]
    assert len(some.unique()) == 7
    kept = Rows(
        features={name: values[some] for name, values in train.features.items()},
        present={name: torch.ones(7, dtype=torch.bool) for name in train.present},
        labels=train.labels[some],
    )
    expected = validation_scores(networks, validation, kept)
    assert found["image_to_text"] == pytest.approx(expected["image_to_text"])


def test_without_items_there_are_no_scores(networks):
    train = make_rows(10)
    assert validation_scores(networks, make_rows(0), train) == {}
    stranger = make_rows(5)
    stranger.labels[:] = 0
    assert validation_scores(networks, stranger, train) == {}


def test_one_direction_is_enough(networks):
    validation = make_rows(10, seed=1)
    validation.present["text"][:] = False
    scores = validation_scores(networks, validation, make_rows(20))
    assert set(scores) == {"image_to_text", "mean"}
    assert scores["mean"] == scores["image_to_text"]


def test_rows_that_can_neither_teach_nor_test_are_left_out():
    from proxyhash.encoders import Features

    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    image = Features(values, np.array([True, False, True, False, True]))
    text = Features(values + 0.5, np.array([True, False, False, True, True]))
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 1], [1, 1]], dtype=bool)
    rows = take_rows({"image": image, "text": text}, labels, np.array([0, 1, 2, 3]))
    assert rows.features["image"].tolist() == values[[0, 3]].tolist()
    assert rows.present["image"].tolist() == [True, False]
    assert rows.present["text"].tolist() == [True, True]
    assert rows.labels.tolist() == [[1, 0], [0, 1]]
    assert not rows.complete("image")
    assert rows.complete("text")


def test_the_rank_of_the_other_half_reads_no_labels(networks):
    validation = make_rows(40, seed=1, incomplete=True)
    has = validation.present["image"] & validation.present["text"]
    image, text = (
        networks[name].eval().logits(validation.features[name][has]).detach()
        for name in ("image", "text")
    )
    apart = distances(image, text).numpy()
    # The rank of the own half in each of many random orders of the ties.
    expected = []
    for each in (apart, apart.T):
        noise = np.random.default_rng(0).random((500, *each.shape)) * 0.5
        order = np.argsort(each + noise, axis=-1)
        own = (order == np.arange(len(each))[None, :, None]).argmax(axis=-1)
        expected.append((1 / (own + 1)).mean())
    validation.labels[:] = 0
    scores = validation_scores(networks, validation, make_rows(0), by="MRR")
    assert scores["image_to_text"] == pytest.approx(expected[0], abs=0.01)
    assert scores["text_to_image"] == pytest.approx(expected[1], abs=0.01)
    assert scores["mean"] == pytest.approx(sum(expected) / 2, abs=0.01)
    validation.present["text"][:] = False
    assert validation_scores(networks, validation, make_rows(0), by="MRR") == {}
