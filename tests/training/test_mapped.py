"""Features that stay in their files give the results of those in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyhash.encoders import precomputed
from proxyhash.errors import FeatureError
from proxyhash.training import mapped, read_config, train
from proxyhash.training.folder import RunFolder
from proxyhash.training.mapped import MappedFeatures
from proxyhash.training.state import read_checkpoint
from tests.training.runs import SMALL, assert_same_run

WIDTH = 12


@pytest.fixture
def features(scenes, tmp_path):
    """A manifest's folder, and a file of features where some items have none."""
    values = np.random.default_rng(0).normal(size=(len(scenes), WIDTH)).astype(np.float32)
    values += scenes.labels @ np.random.default_rng(1).normal(size=(scenes.labels.shape[1], WIDTH))
    values[::7] = np.nan
    np.save(tmp_path / "image.npy", values)
    return tmp_path / "image.npy", values


def run(scenes, file, out, **values):
    tiny = {**SMALL, "data": str(scenes.root), "image_encoder": f"features:{file}"}
    given = {"method": "dcmh", "standardize": True, "epochs": 2, "out": str(out)}
    train(read_config({**tiny, **given, **values}))
    return read_checkpoint(RunFolder(out).last)[0]


@pytest.mark.parametrize("method", ["dcmh", "dchml-plus", "daph", "itq"])
def test_a_run_on_a_file_is_that_on_memory(features, scenes, tmp_path, method):
    more = {"itq": {"hidden": [], "epochs": 1}, "dchml-plus": {"settings": {"refit": 5}}}.get(
        method, {}
    )
    runs = [
        run(scenes, features[0], tmp_path / name, method=method, features_in_memory=kept, **more)
        for name, kept in (("memory", True), ("file", False))
    ]
    assert runs[0].keys() == runs[1].keys()
    for key, value in runs[0].items():
        assert torch.equal(value, runs[1][key]), key
    assert_same_run(tmp_path / "memory", tmp_path / "file")


def test_no_more_than_a_block_is_read_at_once(features, scenes, tmp_path, monkeypatch):
    whole = run(scenes, features[0], tmp_path / "memory")
    sizes = []
    original = MappedFeatures.__getitem__

    def spy(self, rows):
        found = original(self, rows)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(MappedFeatures, "__getitem__", spy)
    monkeypatch.setattr(mapped, "_BLOCK_BYTES", 4 * WIDTH * 16)
    monkeypatch.setattr(precomputed, "_BLOCK_ROWS", 16)
    blocks = run(scenes, features[0], tmp_path / "file", batch_size=16, features_in_memory=False)
    assert 0 < max(sizes) <= 16
    for statistic in ("mean", "scale"):
        key = f"networks.image.{statistic}"
        torch.testing.assert_close(blocks[key], whole[key], rtol=1e-6, atol=1e-7)


def test_rows_are_read_by_positions_masks_and_slices(features):
    _, values = features
    present = ~np.isnan(values).any(axis=1)
    positions = np.array([14, 3, 9, 21])
    rows = MappedFeatures(values, positions, present[positions], device="cpu")
    expected = np.nan_to_num(values[positions])
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[torch.tensor([2, 0])], expected[[2, 0]])
    np.testing.assert_array_equal(rows[torch.tensor([True, False, False, True])], expected[[0, 3]])
    assert (len(rows), tuple(rows.shape)) == (4, (4, WIDTH))


def test_large_files_stay_on_disk_by_themselves(features, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(precomputed, "_LARGE_BYTES", 1000)
    made = []
    original = MappedFeatures.__init__

    def spy(self, *given, **named):
        made.append(1)
        original(self, *given, **named)

    monkeypatch.setattr(MappedFeatures, "__init__", spy)
    run(scenes, features[0], tmp_path / "a")
    assert made
    made.clear()
    run(scenes, features[0], tmp_path / "b", features_in_memory=True)
    assert not made


def test_files_that_cannot_stay_on_disk_are_named(features, scenes, tmp_path):
    path, values = features
    np.save(path, values.astype(np.float64))
    with pytest.raises(FeatureError, match=r"image.npy cannot stay on disk; that takes a .npy"):
        run(scenes, path, tmp_path / "run", features_in_memory=False)
    values[5, 0] = np.nan
    np.save(path, values)
    with pytest.raises(FeatureError, match="1 rows are partly NaN, the first for item 6 of"):
        run(scenes, path, tmp_path / "run", features_in_memory=False)
