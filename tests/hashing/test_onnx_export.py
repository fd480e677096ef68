"""ONNX graphs give the model's codes, in onnxruntime alone; one that does not is not written."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from proxyhash.encoders import BagOfWords, TransformersTextEncoder, make_encoder
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.errors import ProxyhashError, UsageError
from proxyhash.hashing import HashModel, onnx_export, onnx_graph
from proxyhash.networks import NETWORKS, HashingNetwork
from tests.encoders.families import FAMILIES, save_family
from tests.encoders.siglip_models import save_naflex
from tests.encoders.tiny_models import SENTENCES, save_bert, save_decoder, save_steps
from tests.hashing.tiny_encoder import TinyPixels
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.encoders import Encoder

ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'proxyhash[onnx]'")
pytest.importorskip("onnx", reason="needs onnx: pip install 'proxyhash[onnx]'")
export_onnx = onnx_export.export_onnx

BITS = 20
TEXTS = [" ".join(words) for words in zip(SENTENCES * 4, SENTENCES[1:] * 5, strict=False)]


def model_of(encoder: Encoder, *, bits: int = BITS, **layers: Any) -> HashModel:
    """An untrained model of one modality; with 20 bits, its last byte is in part padding."""
    network = HashingNetwork(encoder.dim, bits, standardize=True, **{"hidden": (16,), **layers})
    network.fit_standardization(torch.randn(9, encoder.dim))
    return HashModel(
        bits=bits,
        classes=[],
        method="dchml",
        networks={encoder.modality: network.eval()},
        encoders={encoder.modality: encoder},
    )


def images(count: int) -> list[Image.Image]:
    noise = np.random.default_rng(0)
    sizes = [(50 + 7 * row, 90 - 5 * (row % 9)) for row in range(count)]
    return [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def run(path: Path, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    codes, logits = session.run(["codes", "logits"], feeds)
    return codes, logits


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_of_every_family_give_the_logits_and_packed_signs(
    family: str, tmp_path: Path
) -> None:
    modality = FAMILIES[family].modality
    encoder = make_encoder(str(save_family(family, tmp_path / "model")), modality=modality)
    model = model_of(encoder)
    inputs = images(12) if modality == "image" else TEXTS
    (made,) = export_onnx(model, tmp_path / "out", samples={modality: inputs})
    assert made.bits >= 0.999
    assert made.starts_with == {"image": "pixels", "text": "tokens"}[modality]
    tensors = encoder.tensors([encoder.prepare(each) for each in inputs[:3]])
    codes, logits = run(
        tmp_path / "out" / f"{modality}.onnx",
        {name: tensor.contiguous().numpy() for name, tensor in tensors.items()},
    )
    wanted = model.logits(encoder.encode(inputs[:3]), modality=modality)
    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)
    assert np.array_equal(codes, np.packbits(logits > 0, axis=1))


@pytest.mark.slow
def test_the_last_token_of_a_decoder_is_found_in_the_graph(tmp_path: Path) -> None:
    files = {"config_sentence_transformers.json": {"prompts": {"query": "a dog "}}}
    save_steps(save_decoder(tmp_path / "model"), "Normalize", pooling="lasttoken", files=files)
    model = model_of(make_encoder(str(tmp_path / "model"), modality="text"))
    (made,) = export_onnx(model, tmp_path / "out", samples={"text": TEXTS})
    assert made.bits >= 0.999
    told = json.loads((tmp_path / "out" / "text.json").read_text())["preprocessing"]
    assert told["prompts"] == {"query": "a dog ", "document": ""}
    assert told["add_end_token"] is False


@pytest.mark.slow
def test_patches_of_images_of_any_shape_are_told(tmp_path: Path) -> None:
    encoder = make_encoder(str(save_naflex(tmp_path / "model")), modality="image")
    export_onnx(model_of(encoder), tmp_path / "out", samples={"image": images(9)})
    told = json.loads((tmp_path / "out" / "image.json").read_text())
    assert [each["name"] for each in told["inputs"]] == ["pixels", "mask", "shapes"]
    assert "at most 20 patches of 8 x 8" in told["preprocessing"]["steps"]


@pytest.mark.parametrize("options", [
    {"weighting": "binary"}, {"weighting": "count"}, {"weighting": "tfidf", "normalize": True},
])  # fmt: skip
def test_a_bag_of_words_is_weighted_in_the_graph(options: dict[str, Any], tmp_path: Path) -> None:
    texts = [*TEXTS, "dog dog dog boat", "nothing known here"]
    model = model_of(BagOfWords.fit(TEXTS, **options))
    (made,) = export_onnx(model, tmp_path / "out", samples={"text": texts})
    assert (made.bits, made.codes, made.starts_with) == (1.0, 1.0, "counts")
    told = json.loads((tmp_path / "out" / "text.json").read_text())
    counted = [Counter(re.findall(r"\w\w+", text.lower())) for text in texts]
    counts = np.array([[words[w] for w in told["preprocessing"]["words"]] for words in counted])
    codes, _ = run(tmp_path / "out" / "text.onnx", {"counts": counts.astype(np.float32)})
    assert np.array_equal(codes, model.encode_texts(texts, on_unknown="keep"))


def test_a_graph_begins_with_features_where_the_encoder_is_no_network(tmp_path: Path) -> None:
    model = model_of(TinyPixels(), hidden=())
    (made,) = export_onnx(model, tmp_path / "out", samples={"image": images(9)})
    assert made.starts_with == "features"
    rows = model.encoder("image").encode(images(4))  # type: ignore[union-attr]
    codes, _ = run(tmp_path / "out" / "image.onnx", {"features": rows})
    assert np.array_equal(codes, model.encode_images(images(4)))
    told = json.loads((tmp_path / "out" / "image.json").read_text())
    assert told["encoder"] == "test-pixels"
    assert (told["bits"], told["bytes"], told["model"]) == (BITS, 3, model.fingerprint)


def test_features_of_a_file_need_no_encoder(tmp_path: Path) -> None:
    network = HashingNetwork(7, 16, hidden=())
    model = HashModel(bits=16, classes=[], method="itq", networks={"text": network.eval()})
    (made,) = export_onnx(model, tmp_path / "out", samples={"text": ["whatever"] * 8})
    assert (made.starts_with, made.bits) == ("features", 1.0)


@pytest.mark.slow
def test_networks_that_read_tokens_take_any_number_of_items(tmp_path: Path) -> None:
    options = {"tokens": 3, "width": 8, "hidden": [5], "output_batch_norm": True}
    network = NETWORKS["concept-tokens"].make(16, 24, classes=2, seed=1, **options)
    features = torch.randn(40, 16)
    features[::3, 8:] = 0  # padding
    network.train()(features)
    model = HashModel(bits=24, classes=[], method="mith", networks={"text": network.eval()})
    export_onnx(model, tmp_path / "out", samples={"text": ["a"] * 8})
    for count in (1, 5):
        _, logits = run(
            tmp_path / "out" / "text.onnx", {"features": features[:count].contiguous().numpy()}
        )
        wanted = model.logits(features[:count].numpy(), modality="text")
        np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> HashModel:
    folder = tmp_path_factory.mktemp("bert") / "model"
    return model_of(make_encoder(str(save_bert(folder)), modality="text"), bits=64)


@pytest.mark.slow
def test_codes_without_proxyhash_torch_and_transformers(
    sentences: HashModel, tmp_path: Path
) -> None:
    export_onnx(sentences, tmp_path / "out", samples={"text": TEXTS})
    program = """
import json, sys
import numpy as np, onnxruntime
from tokenizers import Tokenizer
told = json.load(open("text.json"))
cut = Tokenizer.from_file("text/tokenizer.json")
cut.enable_truncation(told["preprocessing"]["max_tokens"])
cut.enable_padding()
found = cut.encode_batch(json.loads(sys.argv[1]))
feeds = {"input_ids": [f.ids for f in found], "attention_mask": [f.attention_mask for f in found],
         "token_type_ids": [f.type_ids for f in found]}
session = onnxruntime.InferenceSession(told["graphs"]["float32"]["file"])
wanted = [each["name"] for each in told["inputs"]]
codes, = session.run(["codes"], {name: np.array(feeds[name], np.int64) for name in wanted})
assert not {"proxyhash", "torch", "transformers"} & set(sys.modules)
print(codes.tobytes().hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(TEXTS[:5])],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == sentences.encode_texts(TEXTS[:5]).tobytes().hex()


@pytest.mark.slow
def test_graphs_in_8_bits_are_smaller_and_keep_99_percent_of_the_bits(
    sentences: HashModel, tmp_path: Path
) -> None:
    whole, small = export_onnx(sentences, tmp_path / "out", samples={"text": TEXTS}, int8=True)
    assert (whole.precision, small.precision) == ("float32", "int8")
    assert small.bits >= 0.99
    assert small.bytes < whole.bytes
    assert re.fullmatch(r"(all|the last) .*in 8 bits.*", small.layers)
    encoder = sentences.encoder("text")
    assert isinstance(encoder, TransformersTextEncoder)
    tokens = {name: each.numpy() for name, each in encoder.tensors(TEXTS).items()}
    session = ort.InferenceSession(tmp_path / "out" / "text.int8.onnx")
    feeds = {each.name: tokens[each.name] for each in session.get_inputs()}
    (codes,) = session.run(["codes"], feeds)
    wanted = np.unpackbits(sentences.encode_texts(TEXTS), axis=1)
    assert (np.unpackbits(codes, axis=1) == wanted).mean() > 0.98
    import onnx

    graph = onnx.load(tmp_path / "out" / "text.int8.onnx").graph
    assert any(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in graph.node)


@pytest.mark.slow
def test_convolutions_are_quantized_with_ranges_of_the_samples(tmp_path: Path) -> None:
    encoder = make_encoder(str(save_family("resnet", tmp_path / "model")), modality="image")
    model = model_of(encoder, bits=64)
    _, small = export_onnx(model, tmp_path / "out", samples={"image": images(40)}, int8=True)
    assert small.bits >= 0.99
    assert int(re.findall(r"\d+", small.layers)[0]) > 0


def test_layers_are_given_up_from_the_input_on(tmp_path: Path) -> None:
    from proxyhash.hashing.onnx_int8 import quantize

    model = model_of(TinyPixels(), hidden=(16, 12, 8))
    export_onnx(model, tmp_path / "out", samples={"image": images(9)})
    graph = tmp_path / "out" / "image.onnx"
    import onnx

    def in_8_bits(path: Path) -> int:
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        return sum("Integer" in kind for kind in kinds)

    for allowed in (4, 2, 1):
        share = lambda path: 1.0 if in_8_bits(path) <= allowed else 0.5  # noqa: B023, E731
        found = quantize(graph, tmp_path / "q.onnx", batches=[], share=share, wanted=0.99)
        assert (found.layers, found.of) == (allowed, 4)
        assert in_8_bits(tmp_path / "q.onnx") == allowed
    with pytest.raises(
        ProxyhashError, match=r"^image\.onnx with its last layer alone.*leave --int8 out"
    ):
        quantize(graph, tmp_path / "q.onnx", batches=[], share=lambda _: 0.5, wanted=0.99)


class Drifting(TransformersTextEncoder):
    """Features that depend on the size of the batch, which tracing takes for a constant."""

    def features(self, inputs: Any) -> torch.Tensor:
        return super().features(inputs) + 3 * (len(inputs["input_ids"]) % 5) - 4


@pytest.mark.slow
def test_a_graph_with_other_codes_is_not_written(tmp_path: Path) -> None:
    model = model_of(Drifting.from_source(save_bert(tmp_path / "model")))
    with pytest.raises(ProxyhashError, match=r"text graph in float32 gives .*nothing was written"):
        export_onnx(model, tmp_path / "out", samples={"text": TEXTS})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_not_taken_for_a_model_without_a_graph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch.onnx, "export", full)
    with pytest.raises(OSError, match="No space left on device"):
        export_onnx(model_of(TinyPixels()), tmp_path / "out", samples={"image": images(9)})
    assert list(tmp_path.iterdir()) == []


def test_large_weights_lie_beside_the_graph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_graph, "_LARGEST_FILE", 100)
    model = model_of(TinyPixels())
    (made,) = export_onnx(model, tmp_path / "out", samples={"image": images(9)})
    assert made.bits == 1.0
    assert 1000 < (tmp_path / "out" / "image.onnx.data").stat().st_size < made.bytes
    with pytest.raises(UsageError, match="leave --int8 out"):
        export_onnx(model, tmp_path / "new", samples={"image": images(9)}, int8=True)
    assert not (tmp_path / "new").exists()


def test_what_is_in_the_folder_is_replaced_only_if_it_is_an_export(tmp_path: Path) -> None:
    model = model_of(TinyPixels())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds something other than exported graphs"):
        export_onnx(model, tmp_path / "out", samples={"image": images(9)})
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    for _ in range(2):
        export_onnx(model, tmp_path / "new", samples={"image": images(9)})
    with pytest.raises(UsageError, match="3 images are too few"):
        export_onnx(model, tmp_path / "new", samples={"image": images(3)})
    assert (tmp_path / "new" / "image.onnx").is_file()


@pytest.mark.slow
@pytest.mark.shared
def test_real_models_give_their_codes_in_onnxruntime(tmp_path: Path) -> None:
    folder = shared_path("data/flickr8k")
    lines = (folder / "items.jsonl").read_text("utf-8").splitlines()[::331][:24]
    rows = [json.loads(line) for line in lines]
    networks, encoders = {}, {}
    for modality, name in (("image", "mobilenet_v2_1.0_224"), ("text", "all-MiniLM-L6-v2")):
        encoder = make_encoder(str(shared_path(f"models/{name}")), modality=modality)
        single = model_of(encoder, bits=64)
        encoders[modality], networks[modality] = encoder, single.networks[modality]
    model = HashModel(bits=64, classes=[], method="dchml", networks=networks, encoders=encoders)
    samples = {
        "image": [folder / row["image"] for row in rows],
        "text": [row["text"] for row in rows],
    }
    for made in export_onnx(model, tmp_path / "out", samples=samples):
        assert made.bits >= 0.999
    told = json.loads((tmp_path / "out" / "image.json").read_text())["preprocessing"]["value"]
    assert np.allclose(np.multiply(told["scale"], 255 / 2), 1, atol=0.02)  # -1 to 1


def test_the_bag_of_an_unknown_text_stays_zero() -> None:
    bag = BagOfWords(["boat", "dog"], weighting="count", normalize=True)
    assert bag.counts(["a dog and a dog"]).tolist() == [[0.0, 2.0]]
    assert fingerprint_of({}, {}) != bag.fingerprint
