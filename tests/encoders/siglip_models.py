"""Tiny models of SigLIP 2, in folders as its own are: of one image size, and of any (NaFlex)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOWER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def save_tokenizer(folder: Path) -> dict[str, int]:
    """Write the tokenizer as the folders of SigLIP 2 have it: Gemma's, which keeps the case."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = ["▁", *map(chr, (*range(65, 91), *range(97, 123)))]
    vocabulary = {token: place for place, token in enumerate(special + letters)}
    core = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True))
    core.add_special_tokens(special)
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    folder.mkdir(exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {f"{token[1:-1]}_token": token for token in special}
    settings |= {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "do_lower_case": True,
        "model_input_names": ["input_ids"],
        "padding_side": "right",
        "model_max_length": 10**30,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return vocabulary


def spread(model: Any, folder: Path) -> Path:
    with torch.no_grad():  # features of the usual small weights differ by little more than rounding
        for layer in model.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Embedding)):
                torch.nn.init.normal_(layer.weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def save_fixed(folder: Path) -> Path:
    vocabulary = save_tokenizer(folder)
    torch.manual_seed(7)
    config = transformers.SiglipConfig(
        text_config={**TOWER, "vocab_size": len(vocabulary), "projection_size": 24},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
    )
    size = {"height": 32, "width": 32}
    transformers.SiglipImageProcessorPil(size=size, resample=2).save_pretrained(folder)
    return spread(transformers.SiglipModel(config), folder)


def save_naflex(folder: Path) -> Path:
    vocabulary = save_tokenizer(folder)
    torch.manual_seed(8)
    config = transformers.Siglip2Config(
        text_config={**TOWER, "vocab_size": len(vocabulary), "projection_size": 24},
        vision_config={**TOWER, "patch_size": 8, "num_patches": 16},
    )
    processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20)
    processor.save_pretrained(folder)
    return spread(transformers.Siglip2Model(config), folder)


SAVE: dict[str, Callable[[Path], Path]] = {"fixed": save_fixed, "naflex": save_naflex}
