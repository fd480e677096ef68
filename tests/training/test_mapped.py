"""Features that stay in their files give the results of those in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyhash.encoders import precomputed
from proxyhash.errors import FeatureError
from proxyhash.methods import Rows
from proxyhash.methods.shared import batch
from proxyhash.training import batches, build, mapped, read_config, train
from proxyhash.training.batches import make_steps
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
    original = MappedFeatures._read

    def spy(self, rows):
        found = original(self, rows)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(MappedFeatures, "_read", spy)
    for module, name in (
        (mapped, "FILE_BLOCK"),
        (batches, "FILE_BLOCK"),
        (batch, "BLOCK_ROWS"),
        (build, "BLOCK_ROWS"),
        (precomputed, "_BLOCK_ROWS"),
    ):
        monkeypatch.setattr(module, name, 16)
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


@pytest.fixture
def large(monkeypatch):
    """5,000 items of a file of 9,000, in blocks of 50 neighbors, 300 of which are mixed."""
    monkeypatch.setattr(mapped, "FILE_BLOCK", 50)
    monkeypatch.setattr(batches, "FILE_BLOCK", 50)
    monkeypatch.setattr(batches, "_MIXED_BYTES", 4 * WIDTH * 300)
    draw = np.random.default_rng(0)
    values = draw.normal(size=(9000, WIDTH)).astype(np.float32)
    positions = np.sort(draw.choice(9000, 5000, replace=False))
    present = draw.random(5000) < 0.9
    features = MappedFeatures(values, positions, present, device="cpu")
    there = torch.from_numpy(present)
    labels = torch.ones(5000, 1, dtype=torch.bool)
    return Rows(features={"image": features}, present={"image": there}, labels=labels)


def read_in_epoch(rows, **options):
    """Return the steps of an epoch with their features, and the blocks that were read."""
    features, read = rows.features["image"], []
    original = MappedFeatures._read

    def spy(self, which):
        read.append(which)
        return original(self, which)

    MappedFeatures._read = spy
    try:
        steps = list(make_steps(rows, (("image",),), batch_size=16, **options))
        found = list(features.learning([step.items("image") for step in steps], epoch=1))
    finally:
        MappedFeatures._read = original
    return steps, found, read


def test_an_epoch_reads_every_block_once_and_gives_every_item_its_own_features(large):
    torch.manual_seed(0)
    steps, found, read = read_in_epoch(large)
    assert sorted(each.start for each in read) == list(range(0, 5000, 50))
    items = torch.cat([step.index for step in steps])
    assert torch.equal(items.sort().values, large.present["image"].nonzero().flatten())
    assert torch.equal(torch.cat(found), large.features["image"][items])


def test_items_are_mixed_among_blocks_from_everywhere(large):
    torch.manual_seed(0)
    steps, _, _ = read_in_epoch(large)
    items = torch.cat([step.index for step in steps])
    group = items[:300]  # of the first blocks that are held
    assert 7 <= len(torch.unique(group // 50)) <= 9
    assert len(torch.unique(torch.cat([step.index for step in steps[:3]]) // 50)) >= 5
    assert group.float().std() > 800  # 1,443 where blocks are drawn from everywhere, 87 in order


def test_rows_are_read_one_by_one_where_blocks_would_not_fit_into_memory(large, monkeypatch):
    monkeypatch.setattr(mapped, "_HELD_BYTES", 4 * WIDTH * 50)
    torch.manual_seed(0)
    steps, found, read = read_in_epoch(large)
    assert len(read) == len(steps)
    for step, values in zip(steps, found, strict=True):
        assert torch.equal(values, large.features["image"][step.items("image")])


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_portions_of_epochs_are_all_items_once_and_then_again_in_another_order(large, kind):
    rows = large
    if kind == "memory":
        rows = Rows({"image": large.features["image"][:]}, large.present, large.labels)
    everything = rows.present["image"].nonzero().flatten()
    epochs = []
    for epoch in range(1, 9):
        torch.manual_seed(epoch)
        portion = batches.Portion(epoch, 1200, seed=3)
        steps = list(make_steps(rows, (("image",),), batch_size=16, portion=portion))
        epochs.append(torch.cat([step.index for step in steps]))
        assert 1000 < len(epochs[-1]) <= 1200
    rounds = torch.cat(epochs[:4]), torch.cat(epochs[4:])
    for each in rounds:
        assert torch.equal(each.sort().values, everything)
    assert not torch.equal(*rounds)
    again = make_steps(rows, (("image",),), batch_size=16, portion=batches.Portion(6, 1200, seed=3))
    assert torch.equal(torch.cat([step.index for step in again]), epochs[5])


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
