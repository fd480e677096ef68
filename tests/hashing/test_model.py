"""HashModel: what it computes, and that a saved model is the same model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from proxyhash.codes import unpack
from proxyhash.encoders import BagOfWords, FeatureCache, Features
from proxyhash.errors import DataError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.networks import HashingNetwork
from proxyhash.proxies import Proxies
from tests.hashing.tiny_encoder import BITS, TinyPixels, build_model

if TYPE_CHECKING:
    from proxyhash.data import Collection

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(scenes: Collection) -> HashModel:
    return build_model(scenes)


def _features(model: HashModel, items: int, *, modality: str = "image") -> np.ndarray:
    width = model.networks[modality].dim_in
    return np.random.default_rng(items).random((items, width), np.float32)


def _parts(model: HashModel) -> dict[str, Any]:
    return {
        "bits": model.bits,
        "classes": model.classes,
        "method": model.method,
        "networks": model.networks,
        "encoders": {modality: model.encoder(modality) for modality in model.modalities},
        "proxies": model.proxies,
    }


def test_bits_are_the_signs_of_the_networks_logits(model: HashModel) -> None:
    features = _features(model, 70, modality="text")
    with torch.no_grad():
        expected = model.networks["text"].eval().logits(torch.from_numpy(features)).numpy()
    logits = model.logits(features, modality="text")
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    codes = model.encode_features(features, modality="text")
    assert codes.shape == (70, 3)
    assert np.array_equal(unpack(codes, bits=BITS), logits > 0)


def test_logits_do_not_depend_on_what_else_is_encoded(model: HashModel) -> None:
    features = _features(model, 150)
    together = model.logits(features, modality="image")
    order = np.random.default_rng(0).permutation(150)
    assert np.array_equal(model.logits(features[order], modality="image"), together[order])
    alone = [model.logits(features[i : i + 1], modality="image")[0] for i in (0, 63, 64, 149)]
    assert np.array_equal(alone, together[[0, 63, 64, 149]])
    assert model.logits(features[:0], modality="image").shape == (0, BITS)


def test_encoding_leaves_the_network_as_it_was(model: HashModel) -> None:
    features = _features(model, 5, modality="text")
    network = model.networks["text"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    in_training = model.logits(features, modality="text")
    assert network.training
    network.eval()
    assert np.array_equal(model.logits(features, modality="text"), in_training)
    assert all(
        value.equal(before[name]) for name, value in model.networks["text"].state_dict().items()
    )


def test_images_and_texts_go_through_their_encoders(model: HashModel, scenes: Collection) -> None:
    paths = [path for path in scenes.sources("image") if path is not None][:3]
    encoders = _parts(model)["encoders"]
    expected = model.encode_features(encoders["image"].encode(paths), modality="image")
    assert np.array_equal(model.encode_images(paths), expected)
    assert np.array_equal(model.encode(paths, modality="image"), expected)
    images = [Image.open(path) for path in paths]
    assert np.array_equal(model.encode_images(images), expected)
    contents = [path.read_bytes() for path in paths]
    assert np.array_equal(model.encode_images(contents), expected)
    texts = ["a red circle", "a blue circle"]
    expected = model.encode_features(encoders["text"].encode(texts), modality="text")
    assert np.array_equal(model.encode_texts(texts), expected)
    assert np.array_equal(model.encode(texts, modality="text"), expected)


def test_a_collection_has_codes_where_it_has_items(
    model: HashModel, scenes: Collection, tmp_path: Path
) -> None:
    codes = model.encode_collection(scenes, cache=FeatureCache(tmp_path))
    assert codes.ids == scenes.ids
    assert (codes.bits, codes.model) == (BITS, model.fingerprint)
    assert codes.has("image").tolist() == [path is not None for path in scenes.sources("image")]
    assert codes.has("text").tolist() == [text is not None for text in scenes.sources("text")]
    position = int(np.flatnonzero(codes.has("image") & codes.has("text"))[7])
    path, text = scenes.sources("image")[position], scenes.sources("text")[position]
    assert path is not None
    assert text is not None
    assert np.array_equal(model.encode_images([path])[0], codes.of("image")[position])
    assert np.array_equal(model.encode_texts([text])[0], codes.of("text")[position])


def test_a_loaded_model_gives_the_same_bits(
    model: HashModel, scenes: Collection, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    again = HashModel.load(tmp_path / "model")
    assert again.fingerprint == model.fingerprint
    assert again.info() == model.info()
    assert (again.classes, again.bits, again.method) == (scenes.classes, BITS, "dchml")
    for modality in ("image", "text"):
        features = _features(model, 100, modality=modality)
        logits = again.logits(features, modality=modality)
        assert np.array_equal(logits, model.logits(features, modality=modality))
    before, after = model.encode_collection(scenes), again.encode_collection(scenes)
    assert np.array_equal(after.of("image"), before.of("image"))
    assert np.array_equal(after.of("text"), before.of("text"))
    assert after.model == before.model


def test_another_process_gives_the_same_bits(
    model: HashModel, scenes: Collection, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    script = (
        "import sys; import tests.hashing.tiny_encoder\n"
        "from proxyhash.data import read_collection\n"
        "from proxyhash.hashing import HashModel\n"
        "model = HashModel.load(sys.argv[1])\n"
        "model.encode_collection(read_collection(sys.argv[2])).save(sys.argv[3])\n"
    )
    arguments = [str(tmp_path / "model"), str(scenes.path), str(tmp_path / "codes.npz")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, cwd=ROOT)
    found = np.load(tmp_path / "codes.npz")
    expected = model.encode_collection(scenes)
    assert np.array_equal(found["image_codes"], expected.of("image"))
    assert np.array_equal(found["text_codes"], expected.of("text"))
    assert str(found["model"]) == model.fingerprint


def test_the_fingerprint_follows_everything_that_decides_codes(
    model: HashModel, scenes: Collection
) -> None:
    parts = _parts(model)
    assert HashModel(**parts).fingerprint == model.fingerprint
    networks, encoders = parts["networks"], parts["encoders"]
    other = BagOfWords([f"word{i}" for i in range(40)])
    assert set(encoders) == set(networks) == {"image", "text"}
    turned = {"networks": dict(reversed(networks.items()))}
    assert HashModel(**parts | turned).fingerprint == model.fingerprint
    codes = model.proxies.codes if model.proxies else np.ones((1, 1), np.int8)
    changed: dict[str, dict[str, Any]] = {
        "classes": {"classes": model.classes[::-1]},
        "proxies": {"proxies": Proxies(codes=-codes, origin="test")},
        "no proxies": {"proxies": None},
        "encoder": {"encoders": encoders | {"text": other}},
        "no encoder": {"encoders": {"text": encoders["text"]}},
        "one modality": {
            "networks": {"text": networks["text"]},
            "encoders": {"text": encoders["text"]},
        },
    }
    prints = {name: HashModel(**parts | change).fingerprint for name, change in changed.items()}
    assert len({*prints.values(), model.fingerprint}) == len(prints) + 1


def test_the_fingerprint_follows_every_weight(scenes: Collection) -> None:
    model = build_model(scenes)
    seen = {model.fingerprint}
    for tensor in model.networks["text"].state_dict().values():
        tensor.view(-1)[0] += 1
        seen.add(model.fingerprint)
    assert len(seen) == 1 + len(model.networks["text"].state_dict())


def test_a_model_of_one_modality(scenes: Collection, tmp_path: Path) -> None:
    whole = build_model(scenes)
    HashModel(
        bits=BITS,
        classes=whole.classes,
        method="dchml",
        networks={"text": whole.networks["text"]},
        encoders={"text": _parts(whole)["encoders"]["text"]},
    ).save(tmp_path / "model")
    model = HashModel.load(tmp_path / "model")
    assert model.modalities == ("text",)
    assert model.encoder("image") is None
    assert "image" not in model.info()
    codes = model.encode_collection(scenes)
    assert not codes.has("image").any()
    assert codes.has("text").any()
    with pytest.raises(UsageError, match="has no image network, it encodes texts only"):
        model.encode_images([])
    with pytest.raises(UsageError, match="has no image network"):
        model.encode_features(np.zeros((1, 27), np.float32), modality="image")


def test_a_model_without_its_encoder_takes_features(scenes: Collection, tmp_path: Path) -> None:
    parts = _parts(build_model(scenes))
    del parts["encoders"]["image"]
    HashModel(**parts).save(tmp_path / "model")
    model = HashModel.load(tmp_path / "model")
    assert not (tmp_path / "model" / "image_encoder").exists()
    assert model.encode_features(_features(model, 4), modality="image").shape == (4, 3)
    with pytest.raises(UsageError, match="saved without its image encoder; pass features"):
        model.encode_images([scenes.sources("image")[0]])


@pytest.mark.parametrize("device", ["cuda:7", "mps", "nonsense"])
def test_a_device_that_is_not_there_is_said(
    scenes: Collection, small_run: Path, device: str
) -> None:
    message = f"device '{device}' cannot be used: .*. This machine has cpu"
    with pytest.raises(UsageError, match=message):
        HashModel.load(small_run / "model", device=device)


def test_wrong_inputs_are_said(model: HashModel) -> None:
    with pytest.raises(UsageError, match="a str was passed to be encoded; pass a list of texts"):
        model.encode_texts("two dogs")
    with pytest.raises(UsageError, match="image features have 5 columns; this model takes 27"):
        model.logits(np.zeros((2, 5), np.float32), modality="image")
    features = _features(model, 3)
    features[1] = np.nan
    with pytest.raises(DataError, match="row 1 of the logits holds NaN"):
        model.encode_features(features, modality="image")


def test_an_input_of_nothing_known_has_no_code_unless_it_is_asked_for(model: HashModel) -> None:
    texts = ["a red circle", "xyzzy", "plugh"]
    with pytest.raises(UsageError, match=r"nothing of text 1, 'xyzzy' \(and of 1 more\), so its"):
        model.encode_texts(texts)
    codes = model.encode_texts(texts, on_unknown="keep")
    assert codes.shape == (3, 3)
    assert np.array_equal(codes[:1], model.encode_texts(texts[:1]))
    with pytest.raises(UsageError, match="on_unknown is 'skip'; it must be one of fail, keep"):
        model.encode_texts(texts, on_unknown="skip")


def test_parts_that_do_not_fit_are_refused(model: HashModel) -> None:
    parts = _parts(model)
    with pytest.raises(UsageError, match="networks is empty; a model needs"):
        HashModel(bits=8, classes=(), method="dchml", networks={})
    with pytest.raises(UsageError, match="the image network has 20 bits, the model 21"):
        HashModel(**parts | {"bits": 21})
    with pytest.raises(UsageError, match="the image encoder returns 12 features, its network"):
        HashModel(**parts | {"encoders": {"image": TinyPixels(side=2)}})
    with pytest.raises(UsageError, match="the proxies have shape"):
        HashModel(**parts | {"classes": ("one", "two")})
    with pytest.raises(UsageError, match="the image network has 8 bits"):
        HashModel(**parts | {"networks": {"image": HashingNetwork(27, 8)}})


def test_info_is_json(model: HashModel) -> None:
    import json

    info = json.loads(json.dumps(model.info()))
    assert info["image"] == {
        "encoder": "test-pixels",
        "features": 27,
        "hidden": [16],
        "parameters": 27 * 16 + 16 + 16 * BITS + BITS,
    }
    assert info["proxies"]["origin"] == "test"
    assert info["fingerprint"] == model.fingerprint


def test_any_modality_has_a_place(scenes: Collection, tmp_path: Path) -> None:
    whole = build_model(scenes)
    sound = HashingNetwork(7, BITS, hidden=(), seed=3)
    model = HashModel(**_parts(whole) | {"networks": {**whole.networks, "sound": sound}})
    model.save(tmp_path / "model")
    again = HashModel.load(tmp_path / "model")
    assert again.modalities == ("image", "text", "sound")
    assert again.fingerprint == model.fingerprint != whole.fingerprint
    values = _features(again, 3, modality="sound")
    features = {"sound": Features(values, np.array([True, False, True]))}
    codes = again.encode_prepared(("a", "b", "c"), features)
    assert codes.modalities == again.modalities
    assert codes.has("sound").tolist() == [True, False, True]
    expected = again.encode_features(values[[0, 2]], modality="sound")
    assert np.array_equal(codes.of("sound")[[0, 2]], expected)
    assert not codes.of("sound")[1].any()
    assert again.info()["sound"]["features"] == 7
    with pytest.raises(UsageError, match="saved without its sound encoder"):
        again.encode(["bell.wav"], modality="sound")
    with pytest.raises(UsageError, match="no smell network, it encodes images, texts and sounds"):
        again.encode([b""], modality="smell")


def test_a_modality_needs_a_plain_name(model: HashModel) -> None:
    for name in ("../image", "Image", "image.x", "", "bits"):
        with pytest.raises(UsageError, match="the name of a modality has lower-case letters"):
            HashModel(**_parts(model) | {"networks": {name: model.networks["image"]}})


def test_what_cannot_be_encoded_is_said(model: HashModel) -> None:
    with pytest.raises(UsageError, match="text 1 is None; a string"):
        model.encode(["a", None], modality="text")
