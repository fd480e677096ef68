"""Text encoders of sentence-transformers folders, against the formulas token by token."""

from __future__ import annotations

import json
import math
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from proxyhash.encoders import TransformersTextEncoder, load_encoder, make_encoder
from proxyhash.encoders._backbone import pooled_text, text_output
from proxyhash.encoders._transformers import Tokenizer, load_backbone
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.errors import ModelError, UsageError
from tests.encoders.tiny_models import (
    SENTENCES,
    decoder_tokenizer,
    save_bert,
    save_decoder,
    save_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
TEXTS = [*SENTENCES, "", "a dog " * 40]


def tokens_of(folder: Path, text: str, *, most: int) -> torch.Tensor:
    """The tokens of one text alone, (1, length), so that nothing is padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found: torch.Tensor = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")[
        "input_ids"
    ]
    return found


def by_loop(
    folder: Path, texts: Sequence[str], pool: Callable[[torch.Tensor], Any], *, most: int = 16
) -> NDArray[np.float32]:
    """Features of one text after the other; `pool` makes one vector of (length, d)."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        with torch.no_grad():
            hidden = model(input_ids=tokens_of(folder, text, most=most)).last_hidden_state[0]
            rows.append(torch.as_tensor(pool(hidden)))
    return torch.stack(rows).numpy()


def last(hidden: torch.Tensor) -> torch.Tensor:
    return hidden[len(hidden) - 1]


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / math.sqrt(sum(float(value) ** 2 for value in vector))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_token_is_taken_wherever_padding_is(side: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, padding_side=side)
    save_steps(tmp_path, "Normalize", pooling="lasttoken")
    encoder = TransformersTextEncoder.from_source(tmp_path)
    wanted = by_loop(tmp_path, TEXTS, lambda hidden: unit(last(hidden)))
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=9), wanted, **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_give_the_last_token_of_the_mask(side: str, tmp_path: Path) -> None:
    save_steps(save_decoder(tmp_path), pooling="lasttoken")
    encoder = TransformersTextEncoder.from_source(tmp_path)
    tokenizer = decoder_tokenizer(padding_side=side)
    tokens = dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    assert (tokens["attention_mask"][:, 0 if side == "left" else -1] == 0).any()
    with torch.no_grad():
        output = text_output(encoder._backbone, tokens)
        found = pooled_text(encoder._backbone, output, tokens).numpy()
    np.testing.assert_allclose(found, by_loop(tmp_path, SENTENCES, last), **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["lasttoken", "cls_token"])
def test_numbered_positions_count_from_the_first_token(
    side: str, pooling: str, tmp_path: Path
) -> None:
    torch.manual_seed(6)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, initializer_range=0.3,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    decoder_tokenizer(padding_side=side).save_pretrained(tmp_path)
    save_steps(tmp_path, pooling=pooling)
    encoder = TransformersTextEncoder.from_source(tmp_path)
    place = -1 if pooling == "lasttoken" else 0
    wanted = by_loop(tmp_path, TEXTS, lambda hidden: hidden[place])
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, **TOLERANCE)


def end_folder(folder: Path, *, asks: bool, has: bool) -> Path:
    """A decoder whose tokenizer asks for the end token in its settings, or has it in its rules."""
    save_steps(save_decoder(folder, "Mistral", end=has), pooling="lasttoken")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["tokenizer_class"]
    text = json.dumps({**settings, "add_eos_token": asks, "tokenizer_class": "LlamaTokenizer"})
    (folder / "tokenizer_config.json").write_text(text)
    return folder


@pytest.mark.parametrize("has", [True, False])
def test_the_end_token_is_added_where_the_tokenizer_is_asked_for_it(
    has: bool, tmp_path: Path
) -> None:
    folder = end_folder(tmp_path, asks=True, has=has)
    encoder = TransformersTextEncoder.from_source(folder)
    tokens = encoder.tensors(["a dog runs", "snow", "a dog " * 40])
    lengths = tokens["attention_mask"].sum(dim=1).tolist()
    assert lengths == [4 + (not has), 2 + (not has), 16]
    for row, length in zip(tokens["input_ids"], lengths, strict=True):
        assert row[:length].tolist().count(3) == 1
        assert row[length - 1] == 3
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        alone = model(input_ids=tokens["input_ids"][1:2, : lengths[1]]).last_hidden_state[0, -1]
    np.testing.assert_allclose(encoder.encode(["snow"])[0], alone.numpy(), **TOLERANCE)


def test_no_end_token_is_added_unasked(tmp_path: Path) -> None:
    encoder = TransformersTextEncoder.from_source(end_folder(tmp_path, asks=False, has=False))
    assert 3 not in encoder.tensors(["a dog runs"])["input_ids"]


def test_a_text_without_tokens_has_features(tmp_path: Path) -> None:
    save_steps(save_decoder(tmp_path), pooling="lasttoken")
    bare = decoder_tokenizer()
    bare.backend_tokenizer.post_processor = None
    bare.save_pretrained(tmp_path)
    encoder = TransformersTextEncoder.from_source(tmp_path)
    assert Tokenizer(tmp_path, max_tokens=None)([""])["input_ids"].shape == (1, 0)
    both = encoder.encode(["", "snow"])
    assert np.isfinite(both).all()
    np.testing.assert_allclose(encoder.encode([""]), both[:1], **TOLERANCE)


FORMULAS: dict[str, Callable[[float], float]] = {
    "Identity": lambda x: x,
    "Tanh": math.tanh,
    "ReLU": lambda x: max(x, 0.0),
    "GELU": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "SiLU": lambda x: x / (1 + math.exp(-x)),
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}


def save_dense(
    folder: Path, place: int, weight: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> None:
    outputs, inputs = weight.shape
    where = folder / f"{place}_Dense"
    where.mkdir(exist_ok=True)
    config = {"in_features": inputs, "out_features": outputs, "bias": bias is not None}
    config["activation_function"] = f"torch.nn.modules.activation.{activation}"
    (where / "config.json").write_text(json.dumps(config))
    tensors = {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias})
    save_file(tensors, where / "model.safetensors")


@pytest.fixture
def two_dense(tmp_path: Path) -> Path:
    """A BERT, the mean of its tokens, two Dense steps 20 -> 7 -> 5, and the norm."""
    folder = tmp_path / "two"
    save_steps(save_bert(folder), "Dense", "Dense", "Normalize")
    noise = torch.Generator().manual_seed(0)
    save_dense(folder, 2, torch.randn(7, 20, generator=noise), torch.randn(7), "Tanh")
    save_dense(folder, 3, torch.randn(5, 7, generator=noise), None, "Identity")
    return folder


def dense(vector: Any, folder: Path, activation: str) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    rows = []
    for place, weights in enumerate(tensors["linear.weight"]):
        total = sum(float(w) * float(v) for w, v in zip(weights, vector, strict=True))
        total += float(tensors["linear.bias"][place]) if "linear.bias" in tensors else 0.0
        rows.append(FORMULAS[activation](total))
    return torch.tensor(rows)


def test_dense_steps_are_taken_one_after_the_other(two_dense: Path) -> None:
    def pool(hidden: torch.Tensor) -> torch.Tensor:
        first = dense(sum(hidden) / len(hidden), two_dense / "2_Dense", "Tanh")
        return unit(dense(first, two_dense / "3_Dense", "Identity"))

    encoder = make_encoder(str(two_dense), modality="text")
    assert encoder.dim == 5
    np.testing.assert_allclose(encoder.encode(TEXTS), by_loop(two_dense, TEXTS, pool), **TOLERANCE)


@pytest.mark.parametrize("activation", FORMULAS)
def test_each_activation_is_its_formula(activation: str, tmp_path: Path) -> None:
    save_steps(save_bert(tmp_path), "Dense")
    save_dense(tmp_path, 2, torch.randn(3, 20), torch.randn(3), activation)
    encoder = make_encoder(str(tmp_path), modality="text")
    wanted = by_loop(
        tmp_path,
        SENTENCES,
        lambda hidden: dense(sum(hidden) / len(hidden), tmp_path / "2_Dense", activation),
    )
    np.testing.assert_allclose(encoder.encode(SENTENCES), wanted, **TOLERANCE)


def test_the_length_in_the_folder_is_obeyed(tmp_path: Path) -> None:
    files = {"sentence_bert_config.json": {"max_seq_length": 6, "do_lower_case": False}}
    save_steps(save_bert(tmp_path), files=files)
    encoder = make_encoder(str(tmp_path), modality="text")
    wanted = by_loop(tmp_path, TEXTS, lambda hidden: sum(hidden) / len(hidden), most=6)
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, **TOLERANCE)
    longer = by_loop(tmp_path, TEXTS, lambda hidden: sum(hidden) / len(hidden))
    assert np.abs(longer - wanted).max() > 0.01


def test_lower_case_is_obeyed(tmp_path: Path) -> None:
    files = {"sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": True}}
    save_steps(save_bert(tmp_path), files=files)
    encoder = make_encoder(str(tmp_path), modality="text")
    loud = encoder.encode([text.upper() for text in SENTENCES])
    np.testing.assert_array_equal(loud, encoder.encode(SENTENCES))
    (tmp_path / "sentence_bert_config.json").unlink()
    as_it_is = make_encoder(str(tmp_path), modality="text").encode(["A DOG RUNS"])
    assert np.abs(as_it_is - encoder.encode(["A DOG RUNS"])).max() > 0.01


def test_a_network_in_the_folder_of_its_step_is_found(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "0_Transformer")
    save_steps(tmp_path, "Normalize", pooling="cls_token")
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    encoder = make_encoder(str(tmp_path), modality="text")
    wanted = by_loop(bert, SENTENCES, lambda hidden: unit(hidden[0]))
    np.testing.assert_allclose(encoder.encode(SENTENCES), wanted, **TOLERANCE)
    encoder.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(SENTENCES), encoder.encode(SENTENCES))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_clip_model_in_the_folder_of_its_step_has_both_towers(
    clip: Path, tmp_path: Path, modality: str, images: list[Any]
) -> None:
    shutil.copytree(clip, tmp_path / "0_CLIPModel")
    step = {"idx": 0, "name": "0", "path": "0_CLIPModel"}
    modules = [{**step, "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    found, plain = (make_encoder(str(each), modality=modality) for each in (tmp_path, clip))
    inputs = images if modality == "image" else SENTENCES
    np.testing.assert_array_equal(found.encode(inputs), plain.encode(inputs))
    found.save(tmp_path / "saved")
    np.testing.assert_array_equal(
        load_encoder(tmp_path / "saved").encode(inputs), plain.encode(inputs)
    )


PROMPTS = {"query": "two dogs ", "passage": "snow "}


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """A decoder with prompts for both roles, and the text after them in its last token."""
    files = {"config_sentence_transformers.json": {"prompts": PROMPTS}}
    return save_steps(save_decoder(tmp_path / "prompted"), pooling="lasttoken", files=files)


def test_each_role_has_its_prompt(prompted: Path) -> None:
    encoder = TransformersTextEncoder.from_source(prompted)
    for role, prompt in (("query", "two dogs "), ("document", "snow ")):
        wanted = by_loop(prompted, [prompt + text for text in TEXTS], last)
        found = encoder.for_role(role).encode(TEXTS)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, wanted, **TOLERANCE)
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.for_role("document").encode(TEXTS))
    queries = encoder.for_role("query")
    assert queries.fingerprint != encoder.fingerprint  # a cache would mix them up
    assert queries.fingerprint == encoder.for_role("query").fingerprint
    assert queries.for_role("query") is queries


def test_prompts_that_are_given_come_before_those_of_the_folder(prompted: Path) -> None:
    own = make_encoder(str(prompted), modality="text")
    other = make_encoder(str(prompted), modality="text", prompts={"query": "a bird "})
    assert other.fingerprint != own.fingerprint
    np.testing.assert_array_equal(other.encode(TEXTS), own.encode(TEXTS))
    wanted = by_loop(prompted, ["a bird " + text for text in TEXTS], last)
    np.testing.assert_allclose(other.for_role("query").encode(TEXTS), wanted, **TOLERANCE)
    none = make_encoder(str(prompted), modality="text", prompts={"query": "", "document": ""})
    assert none.for_role("query") is none
    np.testing.assert_allclose(none.encode(TEXTS), by_loop(prompted, TEXTS, last), **TOLERANCE)


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_without_prompts_all_is_as_before(kind: str, request: pytest.FixtureRequest) -> None:
    encoder = TransformersTextEncoder.from_source(request.getfixturevalue(kind))
    assert encoder.for_role("query") is encoder
    assert encoder.prepare("A dog ") == "A dog "
    contents = {name: sha256(c).hexdigest() for name, c in encoder._files.content.items()}
    backbone = encoder._backbone
    settings = {
        "kind": "transformers-text",
        "files": contents,
        "pooling": backbone.pooling,
        "dropped": list(backbone.dropped),
    }
    assert encoder.fingerprint == fingerprint_of(settings, backbone.state())
    empty = encoder.with_prompts({"query": "", "document": ""})
    assert empty.fingerprint == encoder.fingerprint


def test_a_prompt_that_cannot_be_used_is_refused(bert: Path) -> None:
    with pytest.raises(UsageError, match=r"prompt of a query is .*at most 10,000 characters"):
        make_encoder(str(bert), modality="text", prompts={"query": "x" * 10_001})


def test_an_encoder_without_prompts_says_so(mobilenet: Path) -> None:
    with pytest.raises(UsageError, match="'transformers-image' takes no prompts, and a query pro"):
        make_encoder(str(mobilenet), modality="image", prompts={"query": "q: "})


@pytest.mark.parametrize("left", [True, False])
def test_a_mean_can_leave_out_the_prompt(left: bool, tmp_path: Path) -> None:
    files = {
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "include_prompt": False},
        "config_sentence_transformers.json": {"prompts": PROMPTS},
    }
    save_steps(save_bert(tmp_path), files=files)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    side = {"padding_side": "left" if left else "right"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, **side}))
    # Positions of a BERT are numbers, so that padding on the left changes its features.
    texts = ["a dog runs"] * 2 if left else list(SENTENCES)

    def pool(hidden: torch.Tensor) -> torch.Tensor:
        kept = hidden[3:]  # [CLS] two dogs
        return sum(kept) / len(kept)  # type: ignore[return-value]

    encoder = make_encoder(str(tmp_path), modality="text")
    wanted = by_loop(tmp_path, ["two dogs " + text for text in texts], pool)
    np.testing.assert_allclose(encoder.for_role("query").encode(texts), wanted, **TOLERANCE)


def take_a_step(encoder: TransformersTextEncoder) -> None:
    step = torch.optim.SGD(encoder.tune(), 0.05)
    encoder.learning_mode()
    inputs = encoder.tensors([encoder.prepare(text) for text in SENTENCES])
    encoder.features(inputs)[:, ::2].sum().backward()
    step.step()
    encoder.freeze()


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("kind", ["two_dense", "prompted"])
def test_a_saved_encoder_holds_all_of_it(
    kind: str, tuned: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(kind)
    encoder = TransformersTextEncoder.from_source(source)
    before = encoder.encode(TEXTS)
    if tuned:
        take_a_step(encoder)
        assert np.abs(encoder.encode(TEXTS) - before).max() > 1e-5
    encoder.save(tmp_path / "saved")
    shutil.rmtree(source)  # nothing is read from it any more
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.fingerprint == encoder.fingerprint
    for role in ("query", "document"):
        found, wanted = (each.for_role(role).encode(TEXTS) for each in (loaded, encoder))  # type: ignore[arg-type]
        assert found.tobytes() == wanted.tobytes()
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "saved").rglob("*.*"):
        other = tmp_path / "again" / path.relative_to(tmp_path / "saved")
        assert other.read_bytes() == path.read_bytes()


def test_the_view_of_queries_learns_with_the_encoder(prompted: Path) -> None:
    encoder = TransformersTextEncoder.from_source(prompted)
    queries = encoder.for_role("query")
    before, name = queries.encode(TEXTS), queries.fingerprint
    take_a_step(encoder)
    assert np.abs(queries.encode(TEXTS) - before).max() > 1e-5
    assert encoder.for_role("query").fingerprint != name


def test_dense_steps_are_part_of_what_learns_last(two_dense: Path) -> None:
    encoder = TransformersTextEncoder.from_source(two_dense)
    before = load_file(two_dense / "2_Dense" / "model.safetensors")["linear.weight"]
    blocks = encoder.blocks()
    assert [block.name for block in blocks if block.is_layer] == [
        f"encoder.layer.{n}" for n in (0, 1)
    ]
    assert [tuple(each.shape) for each in blocks[-1].parameters] == [(7, 20), (7,), (5, 7)]
    take_a_step(encoder)
    after = encoder.module.get_submodule("sentence_dense.0").weight.detach()
    assert (after - before).abs().max() > 1e-6


def test_a_decoder_that_learns_with_checkpoints_has_the_same_gradients(tmp_path: Path) -> None:
    save_steps(save_decoder(tmp_path), pooling="lasttoken")
    found = []
    for on in (False, True):
        encoder = TransformersTextEncoder.from_source(tmp_path)
        weights = encoder.tune()
        encoder.checkpoint_activations(on=on)
        encoder.learning_mode()
        encoder.features(encoder.tensors(list(SENTENCES))).square().sum().backward()
        found.append([weight.grad for weight in weights])
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_pickled_dense_weights_are_refused(two_dense: Path) -> None:
    weights = two_dense / "3_Dense" / "model.safetensors"
    weights.unlink()
    with pytest.raises(ModelError, match=rf"{weights} is missing.*copy the whole folder"):
        make_encoder(str(two_dense), modality="text")
    (weights.parent / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ModelError, match=rf"{weights} is missing.*_model\.bin .* not read: "):
        make_encoder(str(two_dense), modality="text")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("pointer", "is a pointer of Git LFS"),
        ("cut", "cannot be read"),
        ("empty", "cannot be read"),
        ("name", "cannot be read"),
        ("shape", r"linear\.weight is \[7, 20\], but config\.json beside it describes \[7, 21\]"),
    ],
)
def test_damaged_dense_weights_are_named(two_dense: Path, damage: str, message: str) -> None:
    path = two_dense / "2_Dense" / "model.safetensors"
    if damage == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14\n")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "name":
        save_file({"weight": torch.zeros(7, 20)}, path)
    else:
        config = path.with_name("config.json")
        config.write_text(config.read_text().replace("20", "21"))
    with pytest.raises(ModelError, match=rf"{path}.*{message}"):
        make_encoder(str(two_dense), modality="text")


def test_dense_steps_that_do_not_fit_the_network_are_refused(two_dense: Path) -> None:
    save_dense(two_dense, 2, torch.zeros(7, 30), None, "Tanh")
    with pytest.raises(ModelError, match=r"from 30 to 7 features has weights .* gets 20 features"):
        make_encoder(str(two_dense), modality="text")


def damage_recipe(settings: dict[str, Any], how: str) -> None:
    recipe = settings["recipe"]
    if how == "huge":
        recipe["dense"][0]["outputs"] = 1 << 23
    elif how == "fewer":
        recipe["dense"].pop()
    elif how == "activation":
        recipe["dense"][0]["activation"] = "os.system"
    elif how == "pooling":
        recipe["pooling"] = "max"
    else:
        settings["recipe"] = ["mean"]


@pytest.mark.parametrize("how", ["huge", "fewer", "activation", "pooling", "list"])
def test_a_saved_encoder_with_a_hostile_recipe_is_refused(
    two_dense: Path, tmp_path: Path, how: str
) -> None:
    make_encoder(str(two_dense), modality="text").save(tmp_path / "saved")
    path = tmp_path / "saved" / "encoder.json"
    settings = json.loads(path.read_text())
    damage_recipe(settings, how)
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=str(tmp_path / "saved")):
        load_encoder(tmp_path / "saved")


@pytest.mark.parametrize("how", ["missing", "more", "narrow", "changed", "flat"])
def test_a_saved_encoder_with_other_dense_weights_is_refused(
    two_dense: Path, tmp_path: Path, how: str
) -> None:
    folder = tmp_path / "saved"
    make_encoder(str(two_dense), modality="text").save(folder)
    weights = load_file(folder / "weights.safetensors")
    name = "sentence_dense.1.weight"
    if how == "missing":
        del weights[name]
    elif how == "more":
        weights["sentence_dense.2.weight"] = torch.zeros(5, 5)
    elif how == "narrow":
        weights[name] = weights[name][:, :3].contiguous()
    elif how == "changed":
        weights[name] += 1
    else:
        weights[name] = weights[name].flatten()
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(ModelError, match=str(folder)):
        load_encoder(folder)


def test_a_run_that_was_begun_with_an_earlier_version_finds_its_encoder(tmp_path: Path) -> None:
    files = {"config_sentence_transformers.json": {"prompts": PROMPTS}}
    save_steps(save_bert(tmp_path), files=files)
    encoder = make_encoder(str(tmp_path), modality="text")
    (former,) = encoder.formers()
    (tmp_path / "config_sentence_transformers.json").unlink()
    of_then = make_encoder(str(tmp_path), modality="text")
    assert former.fingerprint == of_then.fingerprint != encoder.fingerprint
    np.testing.assert_array_equal(former.encode(TEXTS), of_then.encode(TEXTS))
    assert of_then.formers() == []
    assert load_backbone(tmp_path, modality="text").pooling == "mean"
