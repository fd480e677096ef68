from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.data import Collection, Item
from proxyhash.encoders import (
    FeatureCache,
    PrecomputedFeatures,
    encode_collection,
    load_encoder,
    make_encoder,
)
from proxyhash.errors import FeatureError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDS = ("p", "q", "r", "s")


def rows(count: int = 4, width: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(count, width))


@pytest.fixture
def items(tmp_path: Path) -> Collection:
    return Collection.of(
        tmp_path / "data" / "items.jsonl",
        [Item(id=id_, sources={"text": f"text of {id_}"}, labels=()) for id_ in IDS],
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, beside the manifest's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def encoder_for(spec: str, items: Collection) -> PrecomputedFeatures:
    encoder = make_encoder(f"features:{spec}", modality="text", collection=items)
    assert isinstance(encoder, PrecomputedFeatures)
    return encoder


def test_rows_follow_the_manifest(here: Path, items: Collection) -> None:
    np.save(here / "a.npy", rows())
    encoder = encoder_for("a.npy", items)
    assert (encoder.dim, encoder.modality) == (3, "text")
    for features in (
        encoder.rows(items),
        encode_collection(encoder, items, cache=FeatureCache(here / "cache")),
    ):
        np.testing.assert_array_equal(features.values, rows().astype(np.float32))
        assert features.values.dtype == np.float32
        assert features.present.all()
    assert not (here / "cache").exists()


def test_a_relative_path_starts_here_and_then_at_the_manifest(
    here: Path, items: Collection
) -> None:
    np.save(items.root / "a.npy", rows())
    np.testing.assert_array_equal(
        encoder_for("a.npy", items).rows(items).values, rows().astype(np.float32)
    )
    np.save(here / "a.npy", -rows())
    np.testing.assert_array_equal(
        encoder_for("a.npy", items).rows(items).values, -rows().astype(np.float32)
    )
    absolute = encoder_for(str(items.root / "a.npy"), items)
    np.testing.assert_array_equal(absolute.rows(items).values, rows().astype(np.float32))
    with pytest.raises(FeatureError, match=r"b\.npy: no such file, neither here nor in .*data"):
        encoder_for("b.npy", items)


def test_a_key_chooses_and_a_path_may_have_a_hash(here: Path, items: Collection) -> None:
    np.savez(here / "a.npz", one=rows(), two=rows()[:, :2])
    assert encoder_for("a.npz#two", items).dim == 2
    np.save(here / "b#3.npy", rows())
    assert encoder_for("b#3.npy", items).key is None
    assert encoder_for("b#3.npy", items).rows(items).present.all()


def test_the_number_of_rows_must_fit(here: Path, items: Collection) -> None:
    np.save(here / "a.npy", rows(5))
    with pytest.raises(FeatureError, match=r"a\.npy has 5 rows, but .*items\.jsonl has 4 items"):
        encoder_for("a.npy", items).rows(items)


def test_ids_align(here: Path, items: Collection, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(here / "a.npz", features=rows(5), ids=["s", "x", "q", "p", "y"])
    features = encoder_for("a.npz", items).rows(items)
    assert features.present.tolist() == [True, True, False, True]
    wanted = rows(5).astype(np.float32)[[3, 2, 0, 0]]
    wanted[2] = 0
    np.testing.assert_array_equal(features.values, wanted)
    assert "has no text features for 1 items" in caplog.text


def test_ids_of_something_else_are_refused(here: Path, items: Collection) -> None:
    np.savez(here / "a.npz", features=rows(2), ids=["1.jpg", "2.jpg"])
    with pytest.raises(FeatureError, match=r"none of its 2 ids .* first is '1\.jpg', .*'p'"):
        encoder_for("a.npz", items).rows(items)


def test_rows_of_nan_are_absent(here: Path, items: Collection) -> None:
    values = rows()
    values[1] = np.nan
    np.save(here / "a.npy", values)
    features = encoder_for("a.npy", items).rows(items)
    assert features.present.tolist() == [True, False, True, True]
    assert np.isfinite(features.values).all()
    assert not features.values[1].any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.inf, "1 rows are infinite"), (1e200, "1 rows are infinite"), (np.nan, "partly NaN")],
)
def test_values_that_are_no_features_are_refused(
    here: Path, items: Collection, bad: float, message: str
) -> None:
    values = rows()
    values[2, 1] = bad
    np.save(here / "a.npy", values)
    with pytest.raises(FeatureError, match=f"{message}, the first for item 3 of the manifest"):
        encoder_for("a.npy", items).rows(items)


def test_new_items_cannot_be_encoded(here: Path, items: Collection) -> None:
    np.save(here / "a.npy", rows())
    with pytest.raises(UsageError, match="new items need features of their own"):
        encoder_for("a.npy", items).encode(["a text"])


def test_loading_needs_no_file_but_rows_do(here: Path, items: Collection) -> None:
    np.save(here / "a.npy", rows())
    encoder = encoder_for("a.npy", items)
    encoder.save(here / "saved")
    saved: dict[str, Any] = json.loads((here / "saved" / "encoder.json").read_text())
    assert (saved["kind"], saved["dim"], saved["path"]) == ("features", 3, "a.npy")
    (here / "a.npy").unlink()
    loaded = load_encoder(here / "saved")
    assert isinstance(loaded, PrecomputedFeatures)
    assert loaded.fingerprint == encoder.fingerprint
    with pytest.raises(FeatureError, match="no such file"):
        loaded.rows(items)
    np.save(here / "a.npy", rows(width=5))
    with pytest.raises(FeatureError, match="features of length 5; this model takes 3"):
        loaded.rows(items)


def test_the_fingerprint_is_that_of_the_content(here: Path, items: Collection) -> None:
    np.save(here / "a.npy", rows())
    np.save(here / "same.npy", rows())
    np.save(here / "other.npy", -rows())
    prints = [encoder_for(f"{name}.npy", items).fingerprint for name in ("a", "same", "other")]
    assert prints[0] == prints[1] != prints[2]


def test_a_spec_needs_a_path(items: Collection) -> None:
    with pytest.raises(UsageError, match="need a file"):
        encoder_for("", items)


def test_a_file_can_be_named_without_a_collection(here: Path) -> None:
    np.save(here / "a.npy", rows())
    encoder = PrecomputedFeatures.from_file(Path("a.npy"), modality="image")
    assert (encoder.modality, encoder.dim) == ("image", 3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_file_passes_through_little_memory(tmp_path: Path) -> None:
    values = np.lib.format.open_memmap(tmp_path / "f.npy", "w+", np.float32, (200_000, 128))
    values[:] = 1
    del values  # 102 MB
    encoder = PrecomputedFeatures.from_file(tmp_path / "f.npy", modality="text")
    before, most = resident_bytes(), 0
    for start in range(0, 200_000, 5_000):
        rows = np.arange(start, start + 5_000)
        assert encoder.some_rows([""] * 5_000, rows, items=200_000).present.all()
        most = max(most, resident_bytes() - before)
    assert most < 40_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
