"""Assignment of codewords to classes: related classes get near ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from proxyhash.errors import UsageError
from proxyhash.networks.tensors import one_thread
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies, pairwise_distances

__all__ = ["assign_by_cooccurrence", "assignment_cost", "cooccurrence"]

FEW_CLASSES = 128
"""Up to so many classes the tabu search runs, whose steps take O(C^2) each."""

SWEEPS = 50

MOST_PRODUCTS = 2_000_000_000
"""Products of a relation and a distance in all, about ten seconds; work is counted instead of time,
so that equal seeds give equal assignments on every machine."""

_BLOCK = 1 << 16  # items whose labels are counted at once


def cooccurrence(labels: Bool[np.ndarray, "n c"]) -> Float64[np.ndarray, "c c"]:
    """Return the co-occurrence n_ij / sqrt(n_i n_j) of classes, from 0 to 1, with diagonal 0.

    It is 0 for a class without items.
    """
    together = np.zeros((labels.shape[1], labels.shape[1]))
    for start in range(0, len(labels), _BLOCK):
        indicator = labels[start : start + _BLOCK].astype(np.float64)
        together += indicator.T @ indicator
    counts = np.maximum(together.diagonal(), 1)
    related: np.ndarray = together / np.sqrt(np.outer(counts, counts))
    np.fill_diagonal(related, 0)
    return related


def assignment_cost(proxies: Proxies, related: Num[np.ndarray, "c c"]) -> float:
    """Return sum_{i < j} related_ij * distance(p_i, p_j)."""
    return float((related * pairwise_distances(proxies.codes)).sum() / 2)


@one_thread()
def assign_by_cooccurrence(
    proxies: Proxies,
    labels: Bool[np.ndarray, "n c"],
    *,
    seed: int = 0,
    track: Track = silent,
) -> Proxies:
    """Return the same codewords in an order that gives near ones to related classes.

    Minimizes sum_{i < j} n_ij / sqrt(n_i n_j) * distance(p_i, p_j) by a seeded tabu search over
    exchanges of two codewords, or for many classes by a descent over them that ends after a fixed
    amount of work, see `MOST_PRODUCTS`. An item with two labels then has a code near both proxies,
    and opposite codewords go to classes that never occur together.

    Args:
        proxies: codewords, C of them.
        labels: multi-hot labels of the training items, (n, C).
        seed: equal seeds give equal assignments.
        track: reports progress.

    Raises:
        UsageError: labels and proxies have different numbers of classes.
    """
    if labels.shape[1] != proxies.classes:
        raise UsageError(
            f"labels have {labels.shape[1]} classes, but there are {proxies.classes} proxies; "
            "make proxies for the classes of the collection"
        )
    related = cooccurrence(labels)
    if proxies.classes < 2 or not related.any():
        return proxies
    distances = pairwise_distances(proxies.codes).astype(np.float64)
    assign = _assign if proxies.classes <= FEW_CLASSES else _assign_many
    order = assign(related, distances, seed=seed, track=track)
    return proxies.reordered(order)


def _assign(
    related: Float64[np.ndarray, "c c"],
    distances: Float64[np.ndarray, "c c"],
    *,
    seed: int,
    restarts: int = 3,
    track: Track = silent,
) -> Int64[np.ndarray, " c"]:
    """Return the codeword of each class in the best order found.

    Source: the tabu search for quadratic assignment of Taillard, Parallel Computing 17 (1991).
    """
    classes = len(related)
    rng = np.random.default_rng(seed)
    steps = min(20 * classes, 2000)
    best, best_cost = np.arange(classes), (related * distances).sum()
    for _ in track(range(restarts), f"assign proxies to {classes:,} classes"):
        order = rng.permutation(classes)
        cost = (related * distances[order][:, order]).sum()
        state = _Exchanges(related, distances[order][:, order])
        tabu_until = np.zeros((classes, classes), np.int64)  # class x codeword
        for step in range(steps):
            change = state.changes()
            back = tabu_until[:, order]  # of class r taking the codeword of s
            forbidden = (back > step) & (step < back.T)
            # A forbidden exchange is allowed when it leads to the lowest cost so far.
            change[forbidden & (cost + change >= best_cost)] = np.inf
            r, s = np.unravel_index(int(change.argmin()), change.shape)
            if not np.isfinite(change[r, s]):
                break
            cost += change[r, s]
            tabu_until[[r, s], order[[r, s]]] = step + rng.integers(classes // 2 + 1, classes + 2)
            state.exchange(int(r), int(s))
            order[[r, s]] = order[[s, r]]
            if cost < best_cost - 1e-9:
                best_cost, best = cost, order.copy()
    return best


def _assign_many(
    related: Float64[np.ndarray, "c c"],
    distances: Float64[np.ndarray, "c c"],
    *,
    seed: int,
    track: Track = silent,
) -> Int64[np.ndarray, " c"]:
    """Return the codeword of each class after a descent: class by class, the best exchange of each.

    Nothing of C x C is updated per exchange: with A the relation, which is sparse for many classes,
    and B the distances in the order of the classes, the changes by exchanging the codewords of r
    and any s follow from row r of A B, from A times row r of B, and from the diagonal of A B.
    """
    from scipy.sparse import csr_array

    classes = len(related)
    rng = np.random.default_rng(seed)
    order = rng.permutation(classes)
    sparse = csr_array(related)
    starts, columns, weights = sparse.indptr, sparse.indices, sparse.data
    spread = distances[order][:, order]
    own = (related * spread).sum(axis=1)
    products = 0
    sweeps = min(SWEEPS, -(-MOST_PRODUCTS // (2 * classes * sparse.nnz)))
    for _ in track(range(sweeps), f"assign proxies to {classes:,} classes"):
        exchanged = False
        for r in map(int, rng.permutation(classes)):
            near = slice(starts[r], starts[r + 1])
            others, strength = columns[near], weights[near]
            products += sparse.nnz + classes * len(others)
            if products > MOST_PRODUCTS:
                return order
            row = strength @ spread[others]  # of A B
            change = row + sparse @ spread[r] - own[r] - own + 2 * related[r] * spread[r]
            change[r] = 0
            s = int(change.argmin())
            if change[s] >= -1e-9:
                continue
            own += (related[:, r] - related[:, s]) * (spread[s] - spread[r])
            pair, swapped = [r, s], [s, r]
            spread[pair] = spread[swapped]
            spread[:, pair] = spread[:, swapped]
            order[pair] = order[swapped]
            own[pair] = (related[pair] * spread[pair]).sum(axis=1)
            exchanged = True
        if not exchanged:
            break
    return order


class _Exchanges:
    """Changes of the cost by exchanging any two codewords, updated in O(C^2).

    With A the relation, B the distances in the order of the classes, and M = A B, exchanging
    the codewords of r and s changes the cost by 2 (M_rs + M_sr - M_rr - M_ss + 2 A_rs B_rs).
    """

    def __init__(
        self, related: Float64[np.ndarray, "c c"], distances: Float64[np.ndarray, "c c"]
    ) -> None:
        self._related = related
        self._distances = distances
        self._product = related @ distances

    def changes(self) -> Float64[np.ndarray, "c c"]:
        """Return the change of each exchange; infinite on and below the diagonal."""
        own = self._product.diagonal()
        change: np.ndarray = 2 * (
            self._product
            + self._product.T
            - own[:, None]
            - own[None, :]
            + 2 * self._related * self._distances
        )
        change[np.tril_indices(len(change))] = np.inf
        return change

    def exchange(self, r: int, s: int) -> None:
        """Exchange the codewords of two classes."""
        pair, swapped = [r, s], [s, r]
        self._product += np.outer(
            self._related[:, s] - self._related[:, r], self._distances[r] - self._distances[s]
        )
        self._product[:, pair] = self._product[:, swapped]
        self._distances[pair] = self._distances[swapped]
        self._distances[:, pair] = self._distances[:, swapped]
