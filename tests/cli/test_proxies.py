from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from proxyhash.cli.proxies import plotkin_bound

KNOWN = [
    (24, 16, 8),
    (24, 32, 16),
    (80, 16, 6),
    (80, 32, 12),
    (80, 48, 24),
    (80, 64, 32),
    (80, 128, 64),
    (291, 64, 22),
]


@pytest.mark.parametrize(("classes", "bits", "least"), KNOWN)
def test_codes_are_as_far_apart_as_known_ones(proxyhash_command, classes, bits, least):
    started = time.process_time()
    done = proxyhash_command("proxies", "--classes", classes, "--bits", bits, "--json")
    assert time.process_time() - started < 10
    assert least <= done.json["minimum_distance"] <= done.json["plotkin_bound"]
    assert sum(done.json["histogram"].values()) == classes * (classes - 1) // 2


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_saved_codes_have_the_distances_that_are_printed(proxyhash_command, tmp_path, suffix):
    path = tmp_path / f"codes.{suffix}"
    arguments = ("proxies", "--classes", 6, "--bits", 8, "--out", path)
    figures = proxyhash_command(*arguments, "--json").json
    codes = np.load(path)["codes"] if suffix == "npz" else np.loadtxt(path, delimiter=",")
    apart = [int((a != b).sum()) for a, b in itertools.combinations(codes, 2)]
    assert codes.shape == (6, 8)
    assert figures["minimum_distance"] == min(apart)
    assert figures["mean_distance"] == pytest.approx(np.mean(apart))
    assert figures["histogram"] == {str(d): apart.count(d) for d in sorted(set(apart))}
    shown = proxyhash_command(*arguments)
    assert f"minimum distance {min(apart)} (at most" in shown.out


def test_seeds_and_phnet(proxyhash_command, tmp_path):
    arguments = ("proxies", "--classes", 5, "--bits", 12, "--kind", "phnet", "--json")
    first, again = (proxyhash_command(*arguments, "--seed", 3).json for _ in range(2))
    assert first["origin"] == "phnet"
    assert first["histogram"] == again["histogram"]


@pytest.mark.parametrize(
    ("classes", "bits", "bound"), [(2, 16, 16), (3, 6, 4), (4, 6, 4), (1, 8, 8), (32, 16, 8)]
)
def test_plotkin_bound_by_hand(classes, bits, bound):
    assert plotkin_bound(classes, bits) == bound


def test_wrong_usage_is_told(proxyhash_command, tmp_path):
    many = proxyhash_command("proxies", "--classes", 300, "--bits", 8)
    assert (many.code, "do not fit in 8 bits" in many.err) == (2, True)
    kind = proxyhash_command("proxies", "--classes", 3, "--bits", 8, "--kind", "affinity")
    assert (kind.code, "codebook, phnet" in kind.err) == (2, True)
    name = proxyhash_command("proxies", "--classes", 3, "--bits", 8, "--out", tmp_path / "a.txt")
    assert (name.code, ".npz or .csv" in name.err) == (2, True)
