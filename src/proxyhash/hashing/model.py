"""A trained model: from images and texts to packed codes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from proxyhash.codes import CodeFile, binarize, code_bytes
from proxyhash.data import Collection, Modality
from proxyhash.encoders import Encoder, FeatureCache, Features, encode_collection
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.errors import ModelError, UsageError, check_option
from proxyhash.hashing.model_folder import SavedEncoder, SavedModel, read_model, write_model
from proxyhash.networks.blocks import block_logits, sign_logits
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

__all__ = ["HashModel"]


class HashModel:
    """Encoders, hashing networks and proxies; one of the two modalities may be missing.

    Args:
        bits: code length K.
        classes: names of the C classes, in the order of the proxies.
        method: the training method that made it.
        image_network: turns image features into logits, or None.
        text_network: the same for texts.
        image_encoder: turns images into features; without it only features can be encoded.
        text_encoder: the same for texts.
        proxies: the classes' codes, where the method has any.

    Raises:
        UsageError: the parts do not fit together; the sentence names the two that do not.
    """

    def __init__(
        self,
        *,
        bits: int,
        classes: Sequence[str],
        method: str,
        image_network: HashingNetwork | None = None,
        text_network: HashingNetwork | None = None,
        image_encoder: Encoder | SavedEncoder | None = None,
        text_encoder: Encoder | SavedEncoder | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self.bits = bits
        self.classes = tuple(classes)
        self.method = method
        self.image_network = image_network
        self.text_network = text_network
        self.proxies = proxies
        self._encoders: dict[Modality, Encoder | SavedEncoder | None] = {
            "image": image_encoder,
            "text": text_encoder,
        }
        self._check()

    @property
    def image_encoder(self) -> Encoder | None:
        """Turns images into features; read from the model's folder when first asked for."""
        return self._encoder("image")

    @property
    def text_encoder(self) -> Encoder | None:
        """Turns texts into features; read from the model's folder when first asked for."""
        return self._encoder("text")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model has a network for."""
        return tuple(
            modality for modality, network in self._networks.items() if network is not None
        )

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over all that decides the codes: weights, encoders, classes and proxies.

        The same after `save` and `load`. Codes of models with different fingerprints have no
        meaningful distance.
        """
        settings: dict[str, Any] = {"bits": self.bits, "classes": list(self.classes)}
        arrays = {} if self.proxies is None else {"proxies": self.proxies.codes}
        for modality in self.modalities:
            network, encoder = self._network(modality), self._encoders[modality]
            settings[modality] = {
                "network": network.config,
                "encoder": None if encoder is None else encoder.fingerprint,
            }
            for name, tensor in network.state_dict().items():
                arrays[f"{modality}.{name}"] = tensor.cpu().numpy()
        return fingerprint_of(settings, arrays)

    def logits(
        self, features: Float32[np.ndarray, "n d"], *, modality: Modality
    ) -> Float32[np.ndarray, "n k"]:
        """Return the real values whose signs are the bits.

        Args:
            features: the modality's encoder output.
            modality: "image" or "text".

        Raises:
            UsageError: the model has no such network, or the features are of another width.
        """
        return block_logits(self._network(modality), features, modality=modality)

    def encode_features(
        self, features: Float32[np.ndarray, "n d"], *, modality: Modality
    ) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes, (n, ceil(K/8)), of features.

        Raises:
            UsageError: as `logits`.
            DataError: a row of the features is not finite.
        """
        logits = sign_logits(self._network(modality), features, modality=modality)
        return binarize(logits)

    def encode_images(
        self, images: Sequence[Any], *, batch_size: int = 64, track: Track = silent
    ) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes, (n, ceil(K/8)), of image paths, bytes or PIL images.

        Raises:
            UsageError: the model encodes no images, or not by itself.
            ImageError: an image cannot be read; names it.
        """
        return self._encode(images, "image", batch_size=batch_size, track=track)

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int = 64, track: Track = silent
    ) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes, (n, ceil(K/8)), of texts.

        Raises:
            UsageError: the model encodes no texts, or not by itself.
        """
        return self._encode(texts, "text", batch_size=batch_size, track=track)

    def encode_collection(
        self,
        collection: Collection,
        *,
        cache: FeatureCache | None = None,
        batch_size: int = 64,
        track: Track = silent,
        on_bad_item: str = "fail",
    ) -> CodeFile:
        """Return the codes of all items; what an item or the model lacks has no code.

        Args:
            collection: the items.
            cache: where features are looked up and kept.
            batch_size: items that go through an encoder together, at most.
            track: told of every item.
            on_bad_item: "fail" at an image that cannot be read, or "skip" it.
        """
        features: dict[Modality, Features] = {
            modality: encode_collection(
                self._need_encoder(modality),
                collection,
                cache=cache,
                batch_size=batch_size,
                track=track,
                on_bad_item=on_bad_item,
            )
            for modality in self.modalities
        }
        return self.encode_prepared(collection.ids, **features)

    def encode_prepared(
        self, ids: tuple[str, ...], *, image: Features | None = None, text: Features | None = None
    ) -> CodeFile:
        """Return the codes of items whose features are at hand; None where the model lacks one.

        Args:
            ids: of the items.
            image: their image features, as `encode_collection` of encoders returns them.
            text: their text features.
        """
        count, width = len(ids), code_bytes(self.bits)
        codes = {modality: np.zeros((count, width), np.uint8) for modality in self._networks}
        has = {modality: np.zeros(count, np.bool_) for modality in self._networks}
        given: dict[Modality, Features | None] = {"image": image, "text": text}
        for modality, features in given.items():
            if features is None:
                continue
            rows = features.values[features.present]
            codes[modality][features.present] = self.encode_features(rows, modality=modality)
            has[modality] = features.present
        return CodeFile(
            ids=ids,
            codes=codes,
            present=has,
            bits=self.bits,
            model=self.fingerprint,
        )

    def info(self) -> dict[str, Any]:
        """Return a summary that JSON can hold: sizes, parts and fingerprint."""
        summary: dict[str, Any] = {
            "method": self.method,
            "bits": self.bits,
            "classes": list(self.classes),
            "fingerprint": self.fingerprint,
        }
        for modality in self.modalities:
            network, encoder = self._network(modality), self._encoders[modality]
            summary[modality] = {
                "encoder": None if encoder is None else encoder.kind,
                "features": network.dim_in,
                "hidden": list(network.config["hidden"]),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
            }
        if self.proxies is not None:
            summary["proxies"] = {
                "origin": self.proxies.origin,
                "minimum_distance": self.proxies.minimum_distance,
                "mean_distance": round(self.proxies.mean_distance, 3),
            }
        return summary

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model's folder: safetensors and JSON, complete or not at all.

        Raises:
            UsageError: there is a folder of that name that holds something other than a model.
        """
        saved = SavedModel(
            bits=self.bits,
            classes=self.classes,
            method=self.method,
            fingerprint=self.fingerprint,
            networks={modality: self._network(modality) for modality in self.modalities},
            encoders={
                modality: encoder
                for modality, encoder in self._encoders.items()
                if encoder is not None
            },
            proxies=self.proxies,
        )
        write_model(saved, Path(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str = "cpu") -> HashModel:
        """Return the model that `save` wrote; its codes are bit-identical.

        The encoders themselves are loaded when they are first used, so that searching by text does
        not load an image model.

        Args:
            folder: the model's folder.
            device: where networks and encoders run.

        Raises:
            ModelError: a part is missing, damaged, of another version or of another model; the
                sentence names the file.
        """
        saved = read_model(Path(folder), device=device)
        try:
            model = cls(
                bits=saved.bits,
                classes=saved.classes,
                method=saved.method,
                image_network=saved.networks.get("image"),
                text_network=saved.networks.get("text"),
                image_encoder=saved.encoders.get("image"),
                text_encoder=saved.encoders.get("text"),
                proxies=saved.proxies,
            )
        except UsageError as error:
            raise ModelError(f"{Path(folder)} holds parts of different models: {error}") from error
        saved.check_fingerprint(model.fingerprint, Path(folder))
        return model

    @property
    def _networks(self) -> Mapping[Modality, HashingNetwork | None]:
        return {"image": self.image_network, "text": self.text_network}

    def _network(self, modality: Modality) -> HashingNetwork:
        check_option("modality", modality, self._networks)
        network = self._networks[modality]
        if network is None:
            others = " and ".join(f"{other}s" for other in self.modalities)
            raise UsageError(
                f"this model has no {modality} network, it encodes {others} only; "
                f"train one on items that have {modality}s"
            )
        return network

    def _encoder(self, modality: Modality) -> Encoder | None:
        encoder = self._encoders[modality]
        if isinstance(encoder, SavedEncoder):
            encoder = self._encoders[modality] = encoder.load()
        return encoder

    def _need_encoder(self, modality: Modality) -> Encoder:
        self._network(modality)
        encoder = self._encoder(modality)
        if encoder is None:
            raise UsageError(
                f"this model was saved without its {modality} encoder; pass features to "
                "encode_features instead"
            )
        return encoder

    def _encode(
        self, inputs: Any, modality: Modality, *, batch_size: int, track: Track
    ) -> UInt8[np.ndarray, "n b"]:
        if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Sequence):
            raise UsageError(
                f"a {type(inputs).__name__} was passed to be encoded; pass a list of {modality}s"
            )
        encoder = self._need_encoder(modality)
        features = encoder.encode(inputs, batch_size=batch_size, track=track)
        return self.encode_features(features, modality=modality)

    def _check(self) -> None:
        if not self.modalities:
            raise UsageError("a model needs an image network, a text network, or both")
        for modality in self.modalities:
            network, encoder = self._network(modality), self._encoders[modality]
            if network.bits != self.bits:
                raise UsageError(
                    f"the {modality} network gives {network.bits} bits, the model {self.bits}"
                )
            if encoder is not None and encoder.dim != network.dim_in:
                raise UsageError(
                    f"the {modality} encoder gives {encoder.dim} features, its network takes "
                    f"{network.dim_in}"
                )
        proxies = self.proxies
        expected = (len(self.classes), self.bits)
        if proxies is not None and proxies.codes.shape != expected:
            raise UsageError(
                f"the proxies have shape {proxies.codes.shape}, but the model has "
                f"{expected[0]} classes and {expected[1]} bits"
            )
