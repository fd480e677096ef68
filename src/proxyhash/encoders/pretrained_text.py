"""The encoder around a pretrained text model of transformers, and what its recipe does to texts."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from proxyhash.encoders.base import register_encoder
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.encoders.pretrained import PretrainedEncoder
from proxyhash.encoders.recipe import Role, TextRecipe, is_prompt
from proxyhash.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality

__all__ = ["TransformersTextEncoder"]


@register_encoder
class TransformersTextEncoder(PretrainedEncoder):
    """Pooled token vectors of a text model, or the text side of a CLIP-like model, projected.

    A sentence-transformers folder configures pooling, Dense steps, normalization, truncation and
    prompts; for `all-MiniLM-L6-v2`: the mean over the attention mask, divided by its norm, 256
    tokens (recipe in that model's card). Other models get the plain mean over the attention mask.
    """

    kind: ClassVar[str] = "transformers-text"
    modalities: ClassVar[tuple[Modality, ...]] = ("text",)

    modality: Modality = "text"
    _role: Role = "document"

    def for_role(self, role: Role) -> Self:
        """Return the encoder of texts in a role; itself where both have the same prompt.

        The two share the network, which goes on learning where it does.
        """
        if role == self._role or self._recipe.query == self._recipe.document:
            return self
        other = copy(self)
        other._role = role
        other.fingerprint = fingerprint_of({"encoder": self.fingerprint, "role": role}, {})
        return other

    def with_prompts(self, prompts: Mapping[Role, str]) -> Self:
        """Return the same encoder with other prompts, and another fingerprint.

        Raises:
            UsageError: one of them is too long.
        """
        for role, prompt in prompts.items():
            if not is_prompt(prompt):
                raise UsageError(
                    f"the prompt of a {role} is {prompt!r:.40}; a text of at most 10,000 "
                    "characters is expected"
                )
        return self._with_recipe(self._recipe.with_prompts(prompts))

    def formers(self) -> list[Self]:
        """Return the encoder as versions before 0.3 made it, which read fewer files of a folder."""
        try:
            former = TextRecipe.of(replace(self._files, hints=None))
        except ModelError:
            return []
        return [] if former == self._recipe else [self._with_recipe(former)]

    def prepare(self, source: Any) -> Any:
        """Return a text with the prompt of its role before it, and in the case of the recipe."""
        prompt = self._recipe.prompt(self._role)
        text = prompt + source if prompt else source
        return text.lower() if self._recipe.lower else text

    def tensors(self, prepared: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Return the tokens of texts: "input_ids", "attention_mask" and the like, (b, length)."""
        from proxyhash.encoders._backbone import POOLED

        tokens = self._tokenizer(prepared)
        if self._recipe.pool_prompt or not self._recipe.prompt(self._role):
            return tokens
        mask = tokens["attention_mask"]
        prompt = self._tokenizer.count(self.prepare(""))
        return {**tokens, POOLED: mask * (mask.cumsum(dim=1) > prompt)}

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the features of tokenized texts, float32 (b, dim), with gradient."""
        from proxyhash.encoders._backbone import text_output

        tokens = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        return self._pooled(text_output(self._backbone, tokens), tokens)

    def _pooled(self, output: Any, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the features (b, d) of an output of the network for these tokens."""
        from torch.nn.functional import normalize

        from proxyhash.encoders._backbone import dense_features, pooled_text

        features = pooled_text(self._backbone, output, tokens).float()
        features = dense_features(self._backbone, features, self._recipe.dense).float()
        return normalize(features) if self._recipe.normalize else features

    def example(self) -> Any:
        """Return a short text."""
        return "a"

    @property
    def max_tokens(self) -> int:
        """Number of tokens at which texts are cut."""
        return int(self._tokenizer.max_tokens)

    @property
    def text_recipe(self) -> TextRecipe:
        """Prompts, case and pooling of the texts."""
        return self._recipe

    def order(self, inputs: Sequence[Any]) -> NDArray[np.int64]:
        """Return the longest texts first, so that batches have little padding."""
        return np.argsort([-len(text) for text in inputs], kind="stable").astype(np.int64)

    def _settings(self) -> dict[str, Any]:
        """Return what `load` needs; a recipe only where the saved files do not tell it."""
        try:
            told = TextRecipe.of(replace(self._files, hints=None)) == self._recipe
        except ModelError:
            told = False
        return super()._settings() | ({} if told else {"recipe": self._recipe.to_json()})

    def _with_recipe(self, recipe: TextRecipe) -> Self:
        other = copy(self)
        other._recipe = recipe
        other.fingerprint = other.current_fingerprint()
        return other

    def _open_preprocessing(self, folder: Path) -> None:
        from proxyhash.encoders._transformers import Tokenizer

        recipe = self._recipe
        if self._backbone.pooling == "mean":
            self._backbone = replace(self._backbone, pooling=recipe.pooling)
        self._tokenizer = Tokenizer(
            folder, max_tokens=recipe.max_tokens, pooling=self._backbone.pooling, end=recipe.end
        )
