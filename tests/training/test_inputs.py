"""What encoders that learn get: images prepared once, bad ones named, processes ended."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from proxyhash.data import pixel_decoding as decoding
from proxyhash.data.images import open_image
from proxyhash.data.pixel_cache import PixelCache
from proxyhash.encoders import (
    FeatureCache,
    TrainableEncoder,
    TransformersImageEncoder,
    make_encoder,
)
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.errors import ImageError, InterruptedRunError, SourceError, UsageError
from proxyhash.training import train
from proxyhash.training.inputs import PixelInputs, SourceInputs, encoder_inputs
from proxyhash.training.prepare import prepare
from proxyhash.training.tuned import TunedEncoder
from tests.training.runs import config_of, rewrite


@pytest.fixture(autouse=True)
def pixel_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def prepared_paths(monkeypatch):
    """How often each file was prepared by an image encoder, from now on."""
    counts: Counter[str] = Counter()
    original = TransformersImageEncoder.prepare

    def counted(self, source):
        if not isinstance(source, Image.Image):
            counts[str(source)] += 1
        return original(self, source)

    monkeypatch.setattr(TransformersImageEncoder, "prepare", counted)
    return counts


def small(data, out, model, **values):
    few = {"train": 40, "validation": 10, "query": 20, "epochs": 3, "batch_size": 16}
    ours = {
        "method": "dcmh",
        "tune": "image",
        "head_epochs": 1,
        "final_epochs": 0,
        "validate_every": 1,
    }
    return config_of(data, out, image_encoder=str(model), **{**few, **ours, **values})


def test_stored_images_give_the_features_of_encode(scenes, tiny_image, tmp_path):
    copies = []
    for number, source in enumerate(scenes.sources("image")[:12]):
        image = Image.open(source)
        copies.append(tmp_path / f"{number}.png")
        image.resize((50 + 9 * number, 90 - 3 * number)).save(copies[-1])
    encoder = make_encoder(str(tiny_image), modality="image")
    wanted, present = encoder.encode(copies[1:]), np.arange(1, 12)
    inputs = SourceInputs(encoder, [None, *copies[1:]])
    inputs.store(PixelCache(tmp_path / "own"))
    for path in copies:
        path.unlink()
    found = inputs.encode(present)
    assert not found[0].any()
    np.testing.assert_array_equal(found[1:].numpy(), wanted)


@pytest.mark.slow
def test_images_are_prepared_once_however_often_they_are_evaluated(
    scenes, tiny_image, tmp_path, prepared_paths
):
    """At the start, for the cache, and by the model that has learned."""
    train(small(scenes.root, tmp_path / "run", tiny_image, epochs=4), cache=FeatureCache())
    assert max(prepared_paths.values()) == 3


@pytest.mark.slow
def test_without_augmentation_images_are_those_of_evaluation(
    scenes, tiny_image, tmp_path, prepared_paths, pixel_folder
):
    values = {"augment": "none", "epochs": 4, "ema": 0}
    cached = train(small(scenes.root, tmp_path / "a", tiny_image, **values))
    assert max(prepared_paths.values()) == 3
    assert len(list(pixel_folder.iterdir())) == 1
    prepared_paths.clear()
    bare = train(small(scenes.root, tmp_path / "b", tiny_image, pixel_cache_gb=0, **values))
    assert max(prepared_paths.values()) >= 6
    one, other = ((each.folder / "codes.npz").read_bytes() for each in (cached, bare))
    assert one == other


@pytest.mark.parametrize("kind", ["sizes", "floats", "unknown"])
def test_what_is_not_pixels_of_one_size_is_not_stored(scenes, tmp_path, kind):
    def prepared(source):
        image = source if isinstance(source, Image.Image) else Image.open(source)
        if kind != "sizes":
            image = image.resize((8, 8))
        return np.asarray(image, np.float32 if kind == "floats" else np.uint8)

    recipe = "" if kind == "unknown" else "one"
    encoder = SimpleNamespace(modality="image", recipe=recipe, prepare=prepared)
    sources = scenes.sources("image")[:4]
    inputs = SourceInputs(encoder, sources)
    inputs.store(PixelCache(tmp_path / "own"))
    assert not (tmp_path / "own").exists()
    for found, source in zip(inputs.read(range(4)), sources, strict=True):
        np.testing.assert_array_equal(found, prepared(source))


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["crop", "none"])
def test_a_bad_training_image_is_named_by_its_row(scenes, tiny_image, tmp_path, augment):
    data = rewrite(scenes, tmp_path / "data", lambda _position, _item: None)
    config = small(data, tmp_path / "run", tiny_image, augment=augment)
    prepared = prepare(config)
    position = int(prepared.split.train[5])
    item = prepared.collection.items[position]
    path = prepared.collection.sources("image")[position]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError) as caught:
        train(config, prepared=prepared)
    message = str(caught.value)
    where = f"{prepared.collection.path}, row {item.row}, item {item.id!r}: {path}: "
    assert message.startswith(where)
    assert message.endswith("--on-bad-item skip goes on without what cannot be read")


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["crop", "none"])
def test_a_bad_training_image_is_skipped(scenes, tiny_image, tmp_path, augment, caplog):
    data = rewrite(scenes, tmp_path / "data", lambda _position, _item: None)
    config = small(data, tmp_path / "run", tiny_image, augment=augment, on_bad_item="skip")
    prepared = prepare(config)
    position = int(prepared.split.train[5])
    prepared.collection.sources("image")[position].unlink()
    tuned = {"image": TunedEncoder(prepared.encoders["image"], config)}
    rows = prepared.rows(prepared.split.train, device="cpu", tuned=tuned, learning=True)
    assert (~rows.present["image"]).nonzero().flatten().tolist() == [5]
    assert rows.present["text"].all()
    assert not rows.features["image"][5].any()
    assert f"row {prepared.collection.items[position].row}, " in caplog.text
    prepared.encoders["image"].freeze()
    result = train(config, prepared=prepared)
    assert result.epochs == 3
    split = {"split_file": str(result.folder / "split.json")}
    split |= dict.fromkeys(("query", "train", "validation"))
    values = {"augment": augment, "on_bad_item": "skip", **split}
    again = train(small(data, tmp_path / "again", tiny_image, **values))
    one, other = ((each.folder / "codes.npz").read_bytes() for each in (result, again))
    assert one == other


def test_an_image_lost_on_the_way_is_named(scenes, tiny_image, tmp_path):
    encoder = make_encoder(str(tiny_image), modality="image")
    inputs = SourceInputs(encoder, [tmp_path / "a.png"], name=lambda row: f"item {row}")
    with pytest.raises(SourceError, match=r"item 0: .*a\.png: no such file"):
        next(inputs.batches([torch.tensor([0])], epoch=1))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["done", "error", "interrupt"])
def test_processes_that_decode_end_with_the_run(scenes, tiny_image, tmp_path, end, monkeypatch):
    opened = []

    class Watched(decoding.Decoders):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            opened.append(self)

    monkeypatch.setattr(decoding, "Decoders", Watched)
    config = small(
        scenes.root, tmp_path / "run", tiny_image, train=20, validation=0, workers=1,
        pixel_cache_gb=0, augment="crop", image_size=32,
    )  # fmt: skip

    def report(record):
        if record.epoch == 2:  # the first in which the encoder learns
            assert any(each._idle for each in opened)
            if end != "done":
                raise {"error": RuntimeError, "interrupt": KeyboardInterrupt}[end]

    if end == "done":
        train(config, report=report)
    else:
        kind = RuntimeError if end == "error" else InterruptedRunError
        with pytest.raises(kind) as kept:  # and with it all that the run had alive
            train(config, report=report)
        assert kept.value.__traceback__ is not None
    assert opened
    assert all(each._closed.is_set() for each in opened)


class OwnImages(TrainableEncoder):
    """A small network of an encoder that is not one of transformers."""

    kind = "own-images"
    modalities = ("image",)
    modality = "image"
    dim = 4
    device = "cpu"

    def __init__(self):
        self.module = torch.nn.Conv2d(3, 4, 5)
        self.fingerprint = self.current_fingerprint()

    @classmethod
    def from_request(cls, request):
        return cls()

    @classmethod
    def load(cls, folder, *, device="cpu"):
        raise NotImplementedError

    def save(self, folder):
        raise NotImplementedError

    def current_fingerprint(self):
        return fingerprint_of({}, {k: v.numpy() for k, v in self.module.state_dict().items()})

    def prepare(self, source):
        return np.asarray(open_image(source).resize((40, 24)))

    def example(self):
        return Image.new("RGB", (9, 9))

    def tensors(self, prepared):
        stacked = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2)
        return {"pixels": stacked.float() / 255}

    def features(self, inputs):
        return self.module(inputs["pixels"]).mean(dim=(2, 3))


class OwnAugmentedImages(OwnImages):
    """The same, and what it makes of augmented images."""

    def normalized(self, images):
        return images / 255


def test_an_image_encoder_of_ones_own_learns_from_augmented_images(scenes):
    positions, present = np.arange(6), np.ones(6, bool)

    def inputs_of(encoder, **values):
        config = config_of(scenes.root, "run", tune="image", workers=0, **values)
        return encoder_inputs(
            encoder, scenes, positions, present, config=config, learning=True, evaluated=False
        )[1]

    for values, side in (({}, 40), ({"image_size": 16}, 16)):
        inputs = inputs_of(OwnAugmentedImages(), **values)
        assert isinstance(inputs, PixelInputs)
        (batch,) = inputs.batches([torch.tensor([4, 1])], epoch=1)
        assert batch["pixels"].shape == (2, 3, side, side)
    with pytest.raises(UsageError, match=r"no method `normalized`.*--augment none"):
        inputs_of(OwnImages())
    assert isinstance(inputs_of(OwnImages(), augment="none"), SourceInputs)
