"""Clusters: of terms, which makes classes of texts, and of images, named by typical words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError
from proxyhash.labeling.found import FoundClass, FoundClasses, unique_names
from proxyhash.labeling.neighbors import centered, neighbor_shares, weighed
from proxyhash.labeling.terms import Terms, find_terms
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxyhash.labeling.find import Inputs

__all__ = ["classes_of_images", "classes_of_texts", "typical_terms"]

_OWN, _BY_TEXT, _BY_IMAGE = 0.5, 0.25, 0.25
_DIMENSIONS = 64
_TEMPERATURE = 0.2
_PRIOR = 500.0


def classes_of_texts(
    inputs: Inputs, *, classes: int, seed: int, neighbors: int, track: Track = silent
) -> FoundClasses:
    """Return classes that are clusters of words, and how likely each item is one of them.

    A term is described by its embedding, and by the mean embedding of the texts that have it; terms
    that are alike in both are one class (k-means), named by the most frequent of them. With y_c = 1
    where the item's own text has a term of class c, and the share s_c of its nearest neighbors
    whose texts have one,

        p_c = 1/2 y_c + 1/4 s_c(neighbors by text) + 1/4 s_c(neighbors by image)

    and where an item lacks one of these, the others in the same proportions. So a class that the
    text names is one in any case, the surer the more neighbors agree, and one that it fails to
    name is where all of them do.

    Raises:
        DataError: fewer than two words are frequent enough.
    """
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    terms = find_terms(inputs.texts, inputs.positions, track=track)
    if len(terms.names) < 2:
        raise DataError(
            f"the texts of {inputs.collection.path} have {len(terms.names)} words that enough "
            "items share; give names (--name), or find classes in images (--from images)"
        )
    text = centered(inputs.features["text"], inputs.positions)
    held = csr_matrix(terms.held[inputs.positions])
    vectors = [normalize(held.T @ text[inputs.positions])]
    if inputs.embed is not None:
        embedded = np.asarray(inputs.embed(terms.names), np.float32)
        vectors.append(normalize(embedded - embedded.mean(axis=0)))
    cluster = _k_means(np.hstack(vectors), classes, seed=seed, weights=np.sqrt(terms.counts))
    size = int(cluster.max()) + 1
    own = np.zeros((len(inputs.texts), size), np.float32)
    rows, columns = terms.held.nonzero()
    own[rows, cluster[columns]] = 1
    evidence = [(_OWN, own, inputs.has("text"))]
    for weight, modality in ((_BY_TEXT, "text"), (_BY_IMAGE, "image")):
        if modality not in inputs.features:
            continue
        values = (
            text if modality == "text" else centered(inputs.features[modality], inputs.positions)
        )
        shares = neighbor_shares(
            values, inputs.has(modality), own, inputs.positions,
            neighbors=neighbors, track=track, what=f"{modality}s",
        )  # fmt: skip
        evidence.append((weight, shares, inputs.has(modality)))
    found = [_class_of(terms, np.flatnonzero(cluster == each)) for each in range(size)]
    return FoundClasses("texts", tuple(found), weighed(evidence)).by_size()


def classes_of_images(
    inputs: Inputs, *, classes: int, seed: int, track: Track = silent
) -> FoundClasses:
    """Return clusters of images, named by the words that are typical of their items' texts.

    Images are compared in 64 principal components of their features, of length 1. With the squared
    distance d_c to the center of cluster c and the median D of the distances to the nearest,

        p_c = softmax_c(-d_c / (0.2 D)), and at least 1/2 for the nearest cluster

    Raises:
        DataError: there are fewer than two images.
    """
    from sklearn.decomposition import PCA

    present = inputs.has("image")
    known = inputs.positions[present[inputs.positions]]
    if len(known) < 2:
        raise DataError(
            f"{inputs.collection.path} has {len(known)} images that can be used; at least two are "
            "needed to find classes in them"
        )
    values = centered(inputs.features["image"], inputs.positions)
    width = min(_DIMENSIONS, len(known), values.shape[1])
    parts = PCA(width, random_state=seed).fit(values[known])
    values = np.asarray(parts.transform(values), np.float32)
    cluster = _k_means(values[known], classes, seed=seed)
    size = int(cluster.max()) + 1
    centers = np.stack([values[known][cluster == each].mean(axis=0) for each in range(size)])
    squares = (
        (values**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1) - 2 * values @ centers.T
    ).clip(min=0)
    nearest = squares.min(axis=1)
    spread = max(float(np.median(nearest[known])), 1e-12)
    likely = np.exp(-(squares - nearest[:, None]) / (_TEMPERATURE * spread))
    likely /= likely.sum(axis=1, keepdims=True)
    rows = np.arange(len(likely))
    best = squares.argmin(axis=1)
    likely[rows, best] = np.maximum(likely[rows, best], 0.5)
    likely[~present] = 0
    terms = find_terms(inputs.texts, inputs.positions, track=track)
    found = _named_clusters(terms, likely >= 0.5, size)
    return FoundClasses("images", tuple(found), likely.astype(np.float32)).by_size()


def typical_terms(terms: Terms, members: NDArray[np.bool_], *, most: int) -> list[tuple[str, int]]:
    """Return the terms that are typical of some items against all, with how many of them have it.

    By the z-score of the log-odds ratio with a prior of all items (Monroe, Colaresi and Quinn,
    "Fightin' Words", Political Analysis 2008, equation 22), the largest first, above 1.96.

    Args:
        terms: of n items.
        members: which items, bool (n,).
        most: terms at most.
    """
    inside = np.asarray(terms.held[members].sum(axis=0), np.float64).ravel()
    everywhere = np.asarray(terms.held.sum(axis=0), np.float64).ravel()
    outside = everywhere - inside
    if not inside.sum() or not outside.sum():
        return []
    prior = _PRIOR * everywhere / everywhere.sum() + 1e-9
    odds = [
        np.log((each + prior) / (each.sum() + _PRIOR - each - prior)) for each in (inside, outside)
    ]
    scores = (odds[0] - odds[1]) / np.sqrt(1 / (inside + prior) + 1 / (outside + prior))
    order = [int(each) for each in np.argsort(-scores, kind="stable")[:most] if scores[each] > 1.96]
    return [(terms.names[each], int(inside[each])) for each in order]


def _named_clusters(terms: Terms, members: NDArray[np.bool_], size: int) -> list[FoundClass]:
    words = [typical_terms(terms, members[:, each], most=8) for each in range(size)]
    names = [
        _two_names([name for name, _ in own]) or f"cluster {place + 1}"
        for place, own in enumerate(words)
    ]
    return [
        FoundClass(name, tuple(own)) for name, own in zip(unique_names(names), words, strict=True)
    ]


def _two_names(names: Sequence[str]) -> str:
    """Return "dog / grass" of the most typical terms, of which neither repeats the other."""
    if not names:
        return ""
    first = names[0]
    others = [each for each in names[1:] if not set(each.split()) & set(first.split())]
    return f"{first} / {others[0]}" if others else first


def _class_of(terms: Terms, columns: NDArray[np.int64]) -> FoundClass:
    """Return the class of some terms, which are sorted by how many items have them."""
    words = tuple((terms.names[each], int(terms.counts[each])) for each in columns)
    return FoundClass(words[0][0], words)


def _k_means(
    values: NDArray[np.float32],
    classes: int,
    *,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the cluster of each row, (n,) from 0 without gaps."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(values, axis=0))
    means = KMeans(min(classes, distinct), n_init=3, random_state=seed)
    found = means.fit(values, sample_weight=weights).labels_
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
