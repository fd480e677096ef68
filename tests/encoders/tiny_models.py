"""Transformers models small enough to make on the fly, in folders as `save_pretrained` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

if TYPE_CHECKING:
    from pathlib import Path

SENTENCES = (
    "a dog runs",
    "two dogs run through the snow",
    "the boat",
    "a red boat on the sea and a bird in the sky",
    "snow",
)
_WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer() -> Any:
    """Whole words, [CLS] before and [SEP] after, like BERT's."""
    vocabulary = {word: number for number, word in enumerate(_SPECIAL + _WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        model_max_length=16,
    )


def image_processor(**options: Any) -> Any:
    """Shorter side to 40, the middle 32x32, ImageNet's mean and deviation."""
    settings: dict[str, Any] = {
        "do_resize": True,
        "size": {"shortest_edge": 40},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    return transformers.MobileNetV2ImageProcessorPil(**{**settings, **options})


def save_mobilenet(folder: Path, *, seed: int = 0, **processor: Any) -> Path:
    torch.manual_seed(seed)
    config = transformers.MobileNetV2Config(depth_multiplier=0.1, min_depth=4, image_size=32)
    model = transformers.MobileNetV2Model(config)
    with torch.no_grad():  # the usual small weights would let nothing through so many layers
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    image_processor(**processor).save_pretrained(folder)
    return folder


def save_vit(folder: Path, *, pooler: bool = True) -> Path:
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder


def save_bert(folder: Path) -> Path:
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=len(_SPECIAL) + len(_WORDS),
        hidden_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def decoder_tokenizer(*, end: bool = True, **settings: Any) -> Any:
    """Whole words and [SEP] at the end, as decoder-style embedders have their end-of-text token."""
    made = tokenizer()
    template = "$A [SEP]" if end else "[CLS] $A"
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def save_decoder(folder: Path, kind: str = "Qwen3", **settings: Any) -> Path:
    """Save a decoder with positions that are rotations; Qwen3-Embedding is a Qwen3."""
    torch.manual_seed(4)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(_SPECIAL) + len(_WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=24,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    decoder_tokenizer(**settings).save_pretrained(folder)
    return folder


def save_steps(
    folder: Path, *steps: str, pooling: str = "mean_tokens", files: dict[str, Any] | None = None
) -> Path:
    """Add what sentence-transformers writes beside a model: its steps, and files by name."""
    names = ("Transformer", "Pooling", *steps)
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name}" if place else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(names)
    ]
    own: dict[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": {f"pooling_mode_{pooling}": True},
    }
    for name, value in (own | (files or {})).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    return folder


def save_clip(folder: Path) -> Path:
    torch.manual_seed(3)
    tower = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    text = {
        **tower,
        "vocab_size": len(_SPECIAL) + len(_WORDS),
        "max_position_embeddings": 16,
        "eos_token_id": 3,
    }
    config = transformers.CLIPConfig(
        text_config=text,
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder
