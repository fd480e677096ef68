"""Proxies of every kind, by the names that settings use."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from proxyhash.errors import UsageError, check_option
from proxyhash.progress import Track, silent
from proxyhash.proxies.affinity import affinity_proxies
from proxyhash.proxies.assignment import assign_by_cooccurrence
from proxyhash.proxies.codebooks import make_codebook
from proxyhash.proxies.phnet import learn_phnet
from proxyhash.proxies.proxies import Proxies

__all__ = ["ASSIGNMENTS", "PROXY_KINDS", "make_proxies"]

PROXY_KINDS = ("affinity", "codebook", "phnet")
ASSIGNMENTS = ("cooccurrence", "none")


def make_proxies(
    kind: str,
    *,
    classes: int,
    bits: int,
    seed: int = 0,
    assignment: str = "none",
    labels: Bool[np.ndarray, "n c"] | None = None,
    phnet_hidden: int = 512,
    phnet_beta: float = 1.0,
    track: Track = silent,
) -> Proxies:
    """Return the proxies of `classes` classes.

    Args:
        kind: "phnet", learned by a network; "codebook", from coding theory or a search; or
            "affinity", whose distances follow the co-occurrence of classes.
        classes: number of classes C.
        bits: code length K.
        seed: equal seeds give equal proxies.
        assignment: "none", or "cooccurrence" to give related classes near proxies, which
            "affinity" does anyway.
        labels: labels of the training items, (n, C); required by "affinity" and "cooccurrence".
        phnet_hidden: width of the hidden layer of "phnet".
        phnet_beta: weight of the quantization in "phnet".
        track: reports the progress of what takes long.

    Raises:
        UsageError: a name is unknown, labels are missing, or there are fewer codes than classes.
    """
    check_option("proxies", kind, PROXY_KINDS)
    check_option("assignment", assignment, ASSIGNMENTS)
    if kind == "affinity":
        return affinity_proxies(_needed(labels, "proxies 'affinity'"), bits, seed=seed, track=track)
    if kind == "phnet":
        proxies = learn_phnet(
            classes, bits, seed=seed, hidden=phnet_hidden, beta=phnet_beta, track=track
        )
    else:
        proxies = make_codebook(classes, bits, seed=seed, track=track)
    if assignment == "none":
        return proxies
    labels = _needed(labels, "assignment 'cooccurrence'")
    return assign_by_cooccurrence(proxies, labels, seed=seed, track=track)


def _needed(labels: np.ndarray | None, what: str) -> np.ndarray:
    if labels is None:
        raise UsageError(f"{what} needs the labels of the training items; pass labels")
    return labels
