"""What every registered encoder must do; a new one adds its example to `EXAMPLES`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from proxyhash.encoders import (
    ENCODERS,
    BatchEncoder,
    TrainableEncoder,
    load_encoder,
    make_encoder,
)
from proxyhash.errors import ModelError, ProxyhashError, UsageError
from tests.encoders.tiny_models import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxyhash.data import Collection

TRAIN = np.arange(60)

EXAMPLES = {
    "bow": ("text", "bow", "bow:words=30"),
    "descriptor": ("image", "descriptor", None),
    "features": ("image", "features:{features}#a", "features:{features}#b"),
    "patches": ("image", "patches:count=8", "patches:count=8,seed=1"),
    "tokens-image": ("image", "tokens:{mobilenet},count=4", "tokens:{mobilenet},count=1"),
    "tokens-text": ("text", "tokens:{bert},count=4", "tokens:{bert},count=9"),
    "transformers-image": ("image", "{mobilenet}", "{clip}"),
    "transformers-text": ("text", "{bert}", "{clip}"),
}
"""kind -> modality, a spec, and a spec of another encoder of the kind, None for the only one."""

TUNED = "tuned "
LEARNING = ["tokens-image", "tokens-text", "transformers-image", "transformers-text"]
KINDS = [*sorted(EXAMPLES), *(TUNED + kind for kind in LEARNING)]
"""Kinds, and those that learn once more after a step of learning."""

ABLE = [kind for kind in KINDS if kind != "features"]  # precomputed features encode nothing new


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def places(
    tmp_path_factory: pytest.TempPathFactory, mobilenet: Path, bert: Path, clip: Path
) -> dict[str, Path]:
    features = tmp_path_factory.mktemp("features") / "both.npz"
    rows = np.random.default_rng(0).normal(size=(200, 6))
    np.savez(features, a=rows, b=-rows)
    return {"mobilenet": mobilenet, "bert": bert, "clip": clip, "features": features}


@pytest.fixture(scope="session")
def made(scenes: Collection, places: dict[str, Path]) -> Any:
    """A function from (kind, number of the spec) to the encoder, each made once."""
    encoders: dict[tuple[str, int], BatchEncoder] = {}

    def make(kind: str, number: int = 0) -> BatchEncoder:
        if (kind, number) not in encoders:
            modality, *specs = EXAMPLES[kind.removeprefix(TUNED)]
            encoder = encoders[kind, number] = make_encoder(
                specs[number].format(**places), modality=modality, collection=scenes, train=TRAIN
            )
            if kind.startswith(TUNED):
                take_a_step(encoder, inputs_for(encoder, scenes))
        return encoders[kind, number]

    return make


def take_a_step(encoder: BatchEncoder, sources: Sequence[Any]) -> None:
    assert isinstance(encoder, TrainableEncoder)
    step = torch.optim.Adam(encoder.tune(), 1e-3)
    encoder.learning_mode()
    features = encoder.features(encoder.tensors([encoder.prepare(source) for source in sources]))
    features[:, ::2].sum().backward()
    step.step()
    encoder.freeze()


def inputs_for(encoder: BatchEncoder, scenes: Collection) -> Sequence[Any]:
    if encoder.modality == "text":
        return [*SENTENCES, "", "zzz", *(text for text in scenes.sources("text")[:5] if text)]
    return [path for path in scenes.sources("image")[:12] if path is not None]


@pytest.fixture
def encoder(kind: str, made: Any) -> BatchEncoder:
    encoder: BatchEncoder = made(kind)
    return encoder


@pytest.fixture(params=ABLE)
def able(request: pytest.FixtureRequest, made: Any) -> BatchEncoder:
    """Each encoder that can encode."""
    encoder: BatchEncoder = made(request.param)
    return encoder


def test_every_registered_encoder_has_an_example() -> None:
    own = {kind for kind, made in ENCODERS.items() if made.__module__.startswith("proxyhash.")}
    assert set(EXAMPLES) == own  # other tests register encoders of theirs


def test_it_says_what_it_is(encoder: BatchEncoder, kind: str) -> None:
    assert encoder.kind == kind.removeprefix(TUNED)
    assert encoder.modality == EXAMPLES[encoder.kind][0]
    assert encoder.modality in encoder.modalities
    assert encoder.dim > 0
    assert len(encoder.fingerprint) == 64
    assert int(encoder.fingerprint, 16) >= 0


def test_features_have_the_promised_shape_and_type(able: BatchEncoder, scenes: Collection) -> None:
    inputs = inputs_for(able, scenes)
    features = able.encode(inputs, batch_size=5)
    assert features.shape == (len(inputs), able.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len(np.unique(features.round(4), axis=0)) > len(inputs) / 2


def test_encoding_twice_gives_the_same_bits(able: BatchEncoder, scenes: Collection) -> None:
    inputs = inputs_for(able, scenes)
    first = able.encode(inputs, batch_size=4)
    assert first.tobytes() == able.encode(inputs, batch_size=4).tobytes()


def test_batches_and_their_order_do_not_matter(able: BatchEncoder, scenes: Collection) -> None:
    inputs = inputs_for(able, scenes)
    whole = able.encode(inputs)
    turned = able.encode(list(reversed(inputs)), batch_size=3)[::-1]
    np.testing.assert_allclose(turned, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_nothing_in_nothing_out(encoder: BatchEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_saved_and_loaded_gives_the_same_bits(
    encoder: BatchEncoder, scenes: Collection, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert type(loaded) is type(encoder)
    assert (loaded.fingerprint, loaded.dim) == (encoder.fingerprint, encoder.dim)
    if encoder.kind in ABLE:
        inputs = inputs_for(encoder, scenes)
        assert loaded.encode(inputs).tobytes() == encoder.encode(inputs).tobytes()


def test_a_loaded_encoder_saves_the_same_files(encoder: BatchEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "first")
    load_encoder(tmp_path / "first").save(tmp_path / "second")
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "first", tmp_path / "second")
    )
    assert first == second


def test_saved_files_are_json_text_and_safetensors(encoder: BatchEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".txt", ".safetensors"}
    assert json.loads((tmp_path / "encoder.json").read_text())["kind"] == encoder.kind


def test_a_saved_folder_is_a_spec_too(encoder: BatchEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    again = make_encoder(str(tmp_path), modality=encoder.modality)
    assert again.fingerprint == encoder.fingerprint
    other = "image" if encoder.modality == "text" else "text"
    with pytest.raises(UsageError, match=f"an encoder of {other}s is needed"):
        make_encoder(str(tmp_path), modality=other)


@pytest.mark.parametrize("kind", [kind for kind, example in EXAMPLES.items() if example[2]])
def test_another_encoder_has_another_fingerprint(kind: str, made: Any) -> None:
    assert made(kind, 0).fingerprint != made(kind, 1).fingerprint


@pytest.mark.parametrize("kind", LEARNING)
def test_a_tuned_encoder_has_another_fingerprint(kind: str, made: Any) -> None:
    assert made(TUNED + kind).fingerprint != made(kind).fingerprint


@pytest.mark.parametrize("kind", sorted(EXAMPLES.keys() - {"features"}))
def test_the_other_modality_is_refused(kind: str, places: dict[str, Path]) -> None:
    modality, spec, _ = EXAMPLES[kind]
    other = "image" if modality == "text" else "text"
    with pytest.raises(ProxyhashError, match=f"encodes? no {other}s|not encode {other}s"):
        make_encoder(spec.format(**places), modality=other)


@pytest.mark.parametrize("damage", ["empty", "no-json", "truncated", "other-format", "changed"])
def test_a_damaged_folder_is_refused(encoder: BatchEncoder, tmp_path: Path, damage: str) -> None:
    encoder.save(tmp_path)
    manifest = tmp_path / "encoder.json"
    settings = json.loads(manifest.read_text())
    if damage == "empty":
        manifest.unlink()
    elif damage == "no-json":
        manifest.write_text("{")
    elif damage == "truncated":
        manifest.write_text(json.dumps({key: settings[key] for key in ("kind", "format")}))
    elif damage == "other-format":
        manifest.write_text(json.dumps({**settings, "format": 99}))
    else:
        manifest.write_text(json.dumps({**settings, "fingerprint": "0" * 64}))
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_encoder(tmp_path)


def test_encoding_leaves_torch_as_it_was(able: BatchEncoder, scenes: Collection) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    able.encode(inputs_for(able, scenes), batch_size=2)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.is_inference_mode_enabled()
