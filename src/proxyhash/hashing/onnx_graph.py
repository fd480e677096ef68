"""One ONNX graph per modality: encoder, hashing network, sign and packing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyhash.data import Modality
from proxyhash.encoders import BagOfWords, Encoder
from proxyhash.encoders.trainable import TrainableEncoder
from proxyhash.errors import ProxyhashError, require_extra
from proxyhash.hashing.model import HashModel
from proxyhash.networks.base import Network

__all__ = ["Graph", "open_session", "run_graph", "write_graph"]

OPSET = 17
"""Version of the operators: the first with layer normalization; read by onnxruntime since 1.12."""

_LARGEST_FILE = 1 << 30
"""Bytes of weights above which they get a file of their own; ONNX's files end at 2 GiB."""

_PURPOSE = "exporting ONNX graphs"


@dataclass(frozen=True)
class Graph:
    """Beginning of a modality's graph.

    Attributes:
        kind: "pixels", "tokens", "counts" of words, or "features" where the encoder stays outside.
        encoder: the modality's encoder; None where the model has none.
        modality: whose graph it is.
    """

    kind: str
    encoder: Encoder | None
    modality: Modality

    @classmethod
    def of(cls, model: HashModel, modality: Modality) -> Graph:
        """Return how the graph of a modality begins.

        An encoder of torch is part of it, and so is the weighting of a bag of words; any other
        encoder stays outside, and the graph takes its features.
        """
        encoder = model.encoder(modality)
        if isinstance(encoder, TrainableEncoder):
            kind = "pixels" if modality == "image" else "tokens"
        else:
            kind = "counts" if isinstance(encoder, BagOfWords) else "features"
        return cls(kind, encoder, modality)

    def feeds(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return the graph's inputs, by name, for a batch of images, texts or rows of features.

        Raises:
            SourceError: an image cannot be read; names it.
        """
        encoder: Any = self.encoder
        if self.kind == "features":
            return {"features": np.stack(list(inputs)).astype(np.float32)}
        if self.kind == "counts":
            return {"counts": encoder.counts(list(inputs))}
        tensors = encoder.tensors([encoder.prepare(each) for each in inputs])
        return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


def write_graph(model: HashModel, graph: Graph, inputs: Sequence[Any], path: Path) -> None:
    """Write the graph from a modality's inputs to "codes" and "logits".

    "codes" are packed as by `proxyhash.codes.binarize`, uint8 (items, ceil(K / 8)); "logits" are
    float32 (items, K).

    Args:
        model: on the CPU.
        graph: how it begins.
        inputs: two images or texts or more, not all of one length; with them it is traced.
        path: the file; large weights go into another one beside it, `PATH.data`.

    Raises:
        MissingExtraError: onnx is not installed.
        ProxyhashError: a layer of the model has no counterpart in ONNX.
    """
    onnx = require_extra("onnx", extra="onnx", purpose=_PURPOSE)
    feeds = graph.feeds(inputs)
    first = graph.feeds(inputs[:1])
    lengths = {name: _free(array, first[name]) for name, array in feeds.items()}
    whole = _Whole(graph, list(feeds), model.networks[graph.modality]).eval()
    arguments = tuple(torch.from_numpy(array) for array in feeds.values())
    outputs = {name: {0: "items"} for name in ("codes", "logits")}
    try:
        with (
            TemporaryDirectory(dir=path.parent) as scratch,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            # Branches on shapes, which the check with other batches would show to matter; and that
            # this exporter has a successor, which takes five times as long and a package more.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                whole,
                arguments,
                f"{scratch}/graph.onnx",
                input_names=list(feeds),
                output_names=list(outputs),
                dynamic_axes=lengths | outputs,
                opset_version=OPSET,
                dynamo=False,
            )
            loaded = onnx.load(f"{scratch}/graph.onnx")
    except OSError:  # of the disk
        raise
    except Exception as error:  # tracing and exporting raise nearly any type
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ProxyhashError(
            f"the {graph.modality} half of the model has no ONNX graph ({reason}); export the "
            "other half with --modality, or encode with proxyhash"
        ) from error
    onnx.helper.set_model_props(
        loaded, {"proxyhash_model": model.fingerprint, "proxyhash_bits": str(model.bits)}
    )
    save_graph(loaded, path)


def save_graph(loaded: Any, path: Path) -> None:
    """Write an ONNX model, with its weights in `PATH.data` where they are large."""
    import onnx

    large = loaded.ByteSize() > _LARGEST_FILE
    onnx.save_model(
        loaded,
        str(path),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data" if large else None,
    )


def open_session(path: Path, *, threads: int = 0) -> Any:
    """Return an onnxruntime session on the CPU; 0 threads are as many as it takes.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    ort = require_extra("onnxruntime", extra="onnx", purpose=_PURPOSE)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(session: Any, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the codes, uint8 (items, ceil(K / 8)), that a session has for a batch of inputs."""
    wanted = {each.name for each in session.get_inputs()}
    (codes,) = session.run(["codes"], {name: feeds[name] for name in wanted})
    return np.asarray(codes)


def _free(array: np.ndarray, first: np.ndarray) -> dict[int, str]:
    """Return names of the axes that differ from batch to batch."""
    names = {0: "items", 1: "length"}
    return {
        axis: names[axis]
        for axis in names
        if axis == 0 or (axis < array.ndim and first.shape[axis] != array.shape[axis])
    }


class _Whole(nn.Module):
    """From the inputs, in the order of their names, to packed codes and logits."""

    weights: Tensor

    def __init__(self, graph: Graph, names: Sequence[str], network: Network) -> None:
        super().__init__()
        encoder: Any = graph.encoder
        self.kind, self.names, self.network, self._encoder = graph.kind, names, network, (encoder,)
        if graph.kind in ("pixels", "tokens"):
            self.module = encoder.module
        if graph.kind == "counts":
            self.bag = _Weighting(encoder)
        self.register_buffer("weights", 2.0 ** torch.arange(7, -1, -1), persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind in ("pixels", "tokens"):
            features = self._encoder[0].features(dict(zip(self.names, inputs, strict=True)))
        else:
            features = self.bag(inputs[0]) if self.kind == "counts" else inputs[0]
        logits = self.network.logits(features)
        bits = (logits > 0).to(torch.float32)
        bits = nn.functional.pad(bits, (0, -self.network.bits % 8))
        # Sums of eight powers of two are exact.
        codes = (bits.reshape(-1, bits.shape[1] // 8, 8) * self.weights).sum(dim=-1)
        return codes.to(torch.uint8), logits


class _Weighting(nn.Module):
    """`BagOfWords.embed` from counts on."""

    idf: Tensor | None

    def __init__(self, bag: BagOfWords) -> None:
        super().__init__()
        self.binary, self.normalize = bag.weighting == "binary", bag.normalize
        idf = None if bag.idf is None else torch.from_numpy(bag.idf).float()
        self.register_buffer("idf", idf)

    def forward(self, counts: Tensor) -> Tensor:
        values = counts.clamp(max=1) if self.binary else counts
        if self.idf is not None:
            values = values * self.idf
        if self.normalize:
            norms = values.square().sum(dim=1, keepdim=True).sqrt()
            values = values / torch.where(norms > 0, norms, torch.ones_like(norms))
        return values
