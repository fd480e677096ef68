"""Views of training images: what they look like, their features, and runs that learn from them."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from proxyhash.data import read_collection
from proxyhash.encoders import FeatureCache, encode_collection, make_encoder
from proxyhash.errors import ImageError, InterruptedRunError, UsageError
from proxyhash.training import read_config, train
from proxyhash.training.mapped import MappedFeatures
from proxyhash.training.prepare import prepare
from proxyhash.training.views import ImageView, ViewedFeatures, encode_views
from tests.training.runs import SMALL, assert_same_run

LEAST = {"data": "photos", "out": "run"}


@pytest.fixture
def photo(tmp_path):
    """A file of a smooth image of 90 x 60 pixels, and its pixels."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    image = coarse.resize((90, 60), Image.Resampling.BICUBIC)
    path = tmp_path / "photo.png"
    image.save(path)
    return path, image


def view_of(number=1, kinds=("crop", "flip", "color"), crop_min=0.35):
    return ImageView(number, 64, kinds, crop_min)


def pixels(image):
    return np.asarray(image).astype(float)


def test_without_changes_a_view_is_the_whole_image_in_a_square(photo):
    path, image = photo
    found = view_of(kinds=()).open(path)
    assert (found.size, found.mode) == ((64, 64), "RGB")
    wanted = image.resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(pixels(found) - pixels(wanted)).mean() < 3


def test_flips_are_mirrored_images_and_crops_are_parts(photo):
    path, image = photo
    whole = pixels(image.resize((64, 64), Image.Resampling.BICUBIC))
    seen = set()
    for number in range(1, 12):
        found = pixels(view_of(number, kinds=("flip",)).open(path))
        distances = [np.abs(found - each).mean() for each in (whole, whole[:, ::-1])]
        assert min(distances) < 3
        seen.add(int(np.argmin(distances)))
    assert seen == {0, 1}
    crop = pixels(view_of(kinds=("crop",), crop_min=0.2).open(path))
    assert np.abs(crop - whole).mean() > 10


def test_a_view_depends_on_content_and_number_alone(photo, tmp_path):
    path, image = photo
    copy = tmp_path / "elsewhere.png"
    shutil.copy(path, copy)
    first = pixels(view_of().open(path))
    assert np.array_equal(first, pixels(view_of().open(copy)))
    assert not np.array_equal(first, pixels(view_of(2).open(path)))
    image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(copy)
    other = pixels(view_of().open(copy))
    assert np.abs(other[::-1] - first).mean() > 3  # other random numbers, too
    names = [view_of(), view_of(2), view_of(kinds=("crop",)), view_of(crop_min=0.5)]
    assert len({each.name for each in names}) == 4


@pytest.fixture
def some(scenes):
    """A collection, an encoder of its images, and their features."""
    collection = read_collection(scenes.root)
    encoder = make_encoder("descriptor", modality="image")
    return collection, encoder, encode_collection(encoder, collection)


def test_features_of_views_are_those_of_the_changed_images(some, tmp_path, monkeypatch):
    collection, encoder, plain = some
    plain.present[5] = False  # as if it had no image
    plain.values[5] = 0
    config = read_config({**LEAST, "views": 2, "crop_min": 0.5})
    positions, cache = np.array([7, 5, 2]), FeatureCache(tmp_path / "cache")
    told = []

    def track(rows, what, total=None, /):
        told.append((what, total))
        return iter(rows)

    found = encode_views(
        encoder, collection, positions, plain, config=config, cache=cache, track=track
    )
    sources = collection.sources("image")
    for number in (1, 2):
        view = ImageView(number, 256, ("crop", "flip", "color"), 0.5)
        wanted = encoder.encode([view.open(sources[position]) for position in (7, 2)])
        np.testing.assert_array_equal(found[number - 1, [0, 2]], wanted)
    assert not found[:, 1].any()
    assert not np.array_equal(found[0], found[1])
    assert told == [(f"encoding images, view {number} of 2", 2) for number in (1, 2)]

    def fail(_view, source):
        raise AssertionError(f"{source} is opened again")

    monkeypatch.setattr(ImageView, "open", fail)
    again = encode_views(encoder, collection, positions, plain, config=config, cache=cache)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("on_bad_item", ["fail", "skip"])
def test_an_image_that_is_gone_by_then_is_named_or_does_without(some, tmp_path, on_bad_item):
    collection, encoder, plain = some
    folder = tmp_path / "copy"
    shutil.copytree(collection.root, folder)
    collection = read_collection(folder)
    collection.sources("image")[3].unlink()
    config = read_config({**LEAST, "views": 1, "on_bad_item": on_bad_item})
    positions = np.array([3, 4])
    if on_bad_item == "fail":
        with pytest.raises(ImageError, match=r"row 4, item .*no such file"):
            encode_views(encoder, collection, positions, plain, config=config)
        return
    found = encode_views(encoder, collection, positions, plain, config=config)
    np.testing.assert_array_equal(found[0, 0], plain.values[3])
    assert not np.array_equal(found[0, 1], plain.values[4])


def test_a_step_learns_from_the_image_or_from_any_view_equally_often():
    count, views = 3000, 3
    plain = torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2)
    changed = plain + torch.tensor([0.25, 0.5, 0.75])[:, None, None]
    features = ViewedFeatures(plain, changed, seed=1)
    assert torch.equal(features[torch.tensor([4, 2])], plain[[4, 2]])
    assert (tuple(features.shape), len(features)) == ((count, 2), count)
    order = torch.randperm(count)
    wanted = [order[:2000], order[2000:], order[:0]]
    found = list(features.learning(wanted, epoch=1))
    assert [len(each) for each in found] == [2000, 1000, 0]
    drawn = torch.cat(found)
    assert torch.equal(drawn.floor(), plain[order])
    shares = [(drawn[:, 0].frac() == part / 4).float().mean().item() for part in range(views + 1)]
    assert shares == pytest.approx([0.25] * 4, abs=0.03)
    by_item = torch.empty_like(drawn)
    by_item[order] = drawn
    again = torch.cat(list(features.learning([torch.arange(count)], epoch=1)))
    assert torch.equal(again, by_item)  # whatever the batches are
    other = torch.cat(list(features.learning([torch.arange(count)], epoch=2)))
    assert (other == again).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(plain, torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2))


def test_images_whose_features_stay_in_their_file_have_views(tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    plain = MappedFeatures(values, np.array([3, 1]), np.array([True, True]), device="cpu")
    features = ViewedFeatures(plain, -torch.ones(1, 2, 2), seed=0)
    found = torch.cat(list(features.learning([torch.tensor([0, 1])] * 20, epoch=3)))
    assert {tuple(row) for row in found.tolist()} <= {(6.0, 7.0), (2.0, 3.0), (-1.0, -1.0)}
    assert len({tuple(row) for row in found.tolist()}) > 1


def test_a_run_with_views_resumes_as_if_nothing_had_happened(scenes, tmp_path):
    values = {**SMALL, "data": str(scenes.root), "epochs": 3, "views": 2}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(read_config({**values, "out": str(whole)}))
    config = read_config({**values, "out": str(parts)})
    with pytest.raises(InterruptedRunError):
        train(config, report=lambda _: os.kill(os.getpid(), signal.SIGINT))
    train(config, resume=True)
    assert_same_run(whole, parts)
    train(read_config({**values, "out": str(tmp_path / "none"), "views": 0}))
    codes = [(folder / "codes.npz").read_bytes() for folder in (whole, tmp_path / "none")]
    assert codes[0] != codes[1]


def test_views_of_features_from_a_file_are_refused(some, tmp_path):
    collection, _, plain = some
    np.save(tmp_path / "features.npy", plain.values)
    values = {**SMALL, "data": str(collection.root), "out": str(tmp_path / "run"), "views": 2}
    values["encoders"] = {"image": f"features:{tmp_path / 'features.npy'}"}
    with pytest.raises(UsageError, match=r"features of images come from a file.*leave out --views"):
        train(read_config(values))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_min": 0.5}, "crop_min: for encoders that learn, and none does, or views"),
        ({"views": 1, "augment": "blur"}, "augment is 'blur'"),
        ({"views": 1, "encoders": {"image": "none"}}, "learns no images but text; leave out views"),
        ({"views": 1, "tune": "image", "final_epochs": 0}, "final_epochs 0 leaves that out"),
        ({"views": -1}, "views"),
        ({"views": 2, "method": "cca-itq", "hidden": ()}, "so views would change nothing"),
    ],
)
def test_views_that_cannot_be_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        read_config({**LEAST, **values})


def test_views_stay_with_their_items_where_some_are_left_out(scenes):
    """An item without a label is not learned from; those after it keep their own views."""
    config = read_config({**SMALL, "data": str(scenes.root), "out": "run", "views": 1})
    prepared = prepare(config, collection=scenes)
    labels = scenes.labels.copy()
    labels[prepared.split.train[1]] = False
    some = SimpleNamespace(labels=labels, targets=labels.astype(np.float32))
    rows = replace(prepared, collection=some).rows(
        prepared.split.train, device="cpu", learning=True
    )
    kept = np.delete(prepared.split.train, 1)
    assert len(rows) == len(kept)
    plain = torch.from_numpy(prepared.features["image"].values[kept])
    views = torch.from_numpy(np.delete(prepared.views[0], 1, axis=0))
    everything = [torch.arange(len(kept))]
    (found,) = rows.features["image"].learning(everything, epoch=1)
    is_view = (found == views).all(dim=1)
    assert 0 < is_view.sum() < len(kept)
    assert torch.equal(torch.where(is_view[:, None], views, plain), found)
