"""A tiny model of each family of transformers that has layers of its own kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers as tr

from tests.encoders.tiny_models import image_processor, save_mobilenet, tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE = {"image_size": 32, "patch_size": 8}
TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
STAGES: dict[str, Any] = {"depths": [1, 2], "hidden_sizes": [8, 16]}
TEXT: dict[str, Any] = {
    **TOWER,
    "vocab_size": tokenizer().vocab_size,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


@dataclass(frozen=True)
class Family:
    """A model, and what its blocks should be.

    Attributes:
        modality: what it encodes.
        make: returns the model.
        layers: paths of its layers.
        unused: parameters without influence on the features.
        dropout: whether it has any by default.
        processor: returns its image processor.
    """

    modality: str
    make: Callable[[], Any]
    layers: tuple[str, ...]
    unused: tuple[str, ...] = ()
    dropout: bool = False
    processor: Callable[[], Any] = image_processor


def _paths(*parts: tuple[str, int]) -> tuple[str, ...]:
    return tuple(f"{path}.{place}" for path, count in parts for place in range(count))


def _clip() -> Any:
    text = {name: TEXT[name] for name in TEXT if name != "pad_token_id"}
    vision = {**TOWER, **SIDE}
    return tr.CLIPModel(tr.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))


def _siglip() -> Any:
    text = {**TEXT, "max_position_embeddings": 16, "projection_size": 24}
    return tr.SiglipModel(tr.SiglipConfig(text_config=text, vision_config={**TOWER, **SIDE}))


def _siglip2() -> Any:
    text = {**TEXT, "max_position_embeddings": 16, "projection_size": 24}
    vision = {**TOWER, "patch_size": 8, "num_patches": 16}
    return tr.Siglip2Model(tr.Siglip2Config(text_config=text, vision_config=vision))


FAMILIES = {
    "mobilenet_v2": Family(
        "image",
        lambda: None,
        _paths(("layer", 16)),
    ),
    "resnet": Family(
        "image",
        lambda: tr.ResNetModel(tr.ResNetConfig(embedding_size=8, **STAGES)),
        _paths(("encoder.stages.0.layers", 1), ("encoder.stages.1.layers", 2)),
    ),
    "convnext": Family(
        "image",
        lambda: tr.ConvNextModel(
            tr.ConvNextConfig(num_stages=2, **STAGES, image_size=32, layer_scale_init_value=0.5)
        ),
        _paths(("encoder.stages.0.layers", 1), ("encoder.stages.1.layers", 2)),
    ),
    "vit": Family(
        "image", lambda: tr.ViTModel(tr.ViTConfig(**TOWER, **SIDE)), _paths(("layers", 3))
    ),
    "dinov2": Family(
        "image",
        lambda: tr.Dinov2Model(tr.Dinov2Config(**TOWER, **SIDE)),
        _paths(("encoder.layer", 3)),
        unused=("embeddings.mask_token",),
    ),
    "clip-image": Family(
        "image", _clip, _paths(("vision_model.encoder.layers", 3)), unused=("logit_scale",)
    ),
    "siglip-image": Family(
        "image",
        _siglip,
        _paths(("vision_model.encoder.layers", 3)),
        unused=("logit_scale", "logit_bias"),
    ),
    "clip-text": Family(
        "text", _clip, _paths(("text_model.encoder.layers", 3)), unused=("logit_scale",)
    ),
    "siglip-text": Family(
        "text",
        _siglip,
        _paths(("text_model.encoder.layers", 3)),
        unused=("logit_scale", "logit_bias"),
    ),
    "siglip2-image": Family(
        "image",
        _siglip2,
        _paths(("vision_model.encoder.layers", 3)),
        unused=("logit_scale", "logit_bias"),
        processor=lambda: tr.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20),
    ),
    "siglip2-text": Family(
        "text",
        _siglip2,
        _paths(("text_model.encoder.layers", 3)),
        unused=("logit_scale", "logit_bias"),
    ),
    "bert": Family(
        "text",
        lambda: tr.BertModel(tr.BertConfig(**TEXT)),
        _paths(("encoder.layer", 3)),
        dropout=True,
    ),
    "roberta": Family(
        "text",
        lambda: tr.RobertaModel(tr.RobertaConfig(**TEXT)),
        _paths(("encoder.layer", 3)),
        dropout=True,
    ),
    "distilbert": Family(
        "text",
        lambda: tr.DistilBertModel(
            tr.DistilBertConfig(
                vocab_size=TEXT["vocab_size"],
                max_position_embeddings=20,
                dim=24,
                n_layers=3,
                n_heads=2,
                hidden_dim=32,
                pad_token_id=0,
            )
        ),
        _paths(("transformer.layer", 3)),
        dropout=True,
    ),
    "mpnet": Family(
        "text",
        lambda: tr.MPNetModel(tr.MPNetConfig(**TEXT)),
        _paths(("encoder.layer", 3)),
        dropout=True,
    ),
    "qwen3": Family(
        "text",
        lambda: tr.Qwen3Model(tr.Qwen3Config(**TEXT, num_key_value_heads=1, head_dim=12)),
        _paths(("layers", 3)),
    ),
    "albert": Family(
        "text",
        lambda: tr.AlbertModel(tr.AlbertConfig(**TEXT, embedding_size=8)),
        _paths(("encoder.albert_layer_groups.0.albert_layers", 1)),
    ),
}
"""Family -> its model; MiniLM is a BERT, and ALBERT runs its one layer three times."""


def save_family(name: str, folder: Path) -> Path:
    """Write the family's model as `save_pretrained` does; the same files every time."""
    family = FAMILIES[name]
    if name == "mobilenet_v2":
        return save_mobilenet(folder)
    torch.manual_seed(5)
    model = family.make()
    with torch.no_grad():  # features of the usual small weights differ by little more than rounding
        for layer in model.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                torch.nn.init.kaiming_normal_(layer.weight)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    (family.processor() if family.modality == "image" else tokenizer()).save_pretrained(folder)
    return folder
