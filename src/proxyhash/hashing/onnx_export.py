"""Folder of ONNX graphs: from images and texts to codes in onnxruntime, without this package.

    image.onnx          pixels -> codes, logits
    image.int8.onnx     the same with layers in 8 bits, where asked for
    image.json          what it takes, how images are prepared, what the bits are, what was checked
    image/              files of the image processor or the tokenizer, as published
    text.onnx, text.json, text/

A graph is written only if onnxruntime gives the model's codes with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxyhash import __version__
from proxyhash.codes import code_bytes, unpack
from proxyhash.data import MODALITIES, Modality
from proxyhash.encoders import (
    BagOfWords,
    PrecomputedFeatures,
    TransformersImageEncoder,
    TransformersTextEncoder,
)
from proxyhash.errors import ModelError, ProxyhashError, UsageError
from proxyhash.files import holds, replace_folder, write_json
from proxyhash.hashing.model import HashModel
from proxyhash.hashing.onnx_graph import Graph, open_session, run_graph, write_graph
from proxyhash.hashing.onnx_int8 import quantize
from proxyhash.progress import Track, silent

__all__ = ["WANTED", "CheckedGraph", "export_onnx"]

FORMAT = 1

WANTED = {"float32": 0.999, "int8": 0.99}
"""Least share of bits that are the model's, by precision."""

_SIZES = (1, 2, 5, 16)
"""Sizes of the batches that a graph is checked with, in turn."""

_RANGES = 32
"""Sample inputs that the ranges of convolutions are taken from."""


@dataclass(frozen=True)
class CheckedGraph:
    """A graph that was written, and how its codes compare with the model's.

    Attributes:
        modality: of its inputs.
        precision: "float32" or "int8".
        file: its name in the folder.
        bytes: its size.
        starts_with: "pixels", "tokens", "counts" or "features".
        items: how many sample inputs it was checked with.
        bits: share of the bits that are the model's.
        codes: share of the items all bits of which are.
        layers: which are in 8 bits; "" in float32.
    """

    modality: Modality
    precision: str
    file: str
    bytes: int
    starts_with: str
    items: int
    bits: float
    codes: float
    layers: str = ""


def export_onnx(
    model: HashModel,
    out: str | Path,
    *,
    samples: Mapping[Modality, Sequence[Any]],
    int8: bool = False,
    track: Track = silent,
) -> tuple[CheckedGraph, ...]:
    """Write a folder with the ONNX graphs of a model, and return how they were checked.

    The graph of a modality begins with features where its encoder is not a network: precomputed
    features, a descriptor, patches.

    Args:
        model: on the CPU.
        out: the folder; an earlier export in it is replaced.
        samples: by modality, which are exported, eight inputs or more, not all of one length: what
            the encoder takes, or anything where the graph begins with precomputed features. With
            `int8` every other one chooses the layers, and the rest check.
        int8: whether to write graphs with layers in 8 bits, too.
        track: reports progress per graph.

    Raises:
        UsageError: `out` holds something else, or there are too few samples.
        MissingExtraError: onnx or onnxruntime is not installed.
        ProxyhashError: a graph gives fewer of the model's bits than `WANTED`; nothing is written.
    """
    out = Path(out)
    _check_out(out)
    for modality, inputs in samples.items():
        if len(inputs) < 8:
            raise UsageError(
                f"{len(inputs)} {_plural(modality)} are too few to check a graph with; give eight "
                "or more"
            )
    checked: list[CheckedGraph] = []
    with replace_folder(out) as folder:
        jobs = [(m, p) for m in samples for p in (WANTED if int8 else ("float32",))]
        for modality, precision in track(jobs, "exporting graphs", len(jobs)):
            work = _Work(model, Graph.of(model, modality), samples[modality], folder)
            checked.append(work.write() if precision == "float32" else work.write_int8())
        for modality in samples:
            done = [each for each in checked if each.modality == modality]
            graph = Graph.of(model, modality)
            write_json(folder / f"{modality}.json", _description(model, graph, done, folder))
    return tuple(checked)


def _check_out(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not any(
        holds(out, f"{modality}.json", keys=("format", "graphs", "model"))
        for modality in MODALITIES
    ):
        raise UsageError(
            f"{out} exists and holds something other than exported graphs; give another folder"
        )


_Batch = tuple[dict[str, np.ndarray], np.ndarray]
"""Inputs of a graph by name, and the model's codes of them."""


@dataclass(frozen=True)
class _Work:
    """One graph to write and to check."""

    model: HashModel
    graph: Graph
    inputs: Sequence[Any]
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.graph.modality}.onnx"

    def write(self) -> CheckedGraph:
        inputs = self.rows()
        shortest, *_, longest = sorted(inputs, key=_length)
        write_graph(self.model, self.graph, [shortest, longest], self.path)
        return self.check(self.path, self.batches(inputs), precision="float32")

    def write_int8(self) -> CheckedGraph:
        path = self.folder / f"{self.graph.modality}.int8.onnx"
        inputs = self.rows()
        chosen = self.batches(inputs[::2])
        found = quantize(
            self.path,
            path,
            batches=[self.graph.feeds([each]) for each in inputs[::2][:_RANGES]],
            share=lambda trial: self.same(trial, chosen)[0],
            wanted=WANTED["int8"],
        )
        return self.check(path, self.batches(inputs[1::2]), precision="int8", layers=str(found))

    def rows(self) -> Sequence[Any]:
        """Return the sample inputs as `Graph.feeds` takes them."""
        encoder: Any = self.graph.encoder
        if self.graph.kind != "features":
            return self.inputs
        if encoder is None or isinstance(encoder, PrecomputedFeatures):
            width = self.model.networks[self.graph.modality].dim_in
            random = np.random.default_rng(0)
            return list(random.standard_normal((len(self.inputs), width)).astype(np.float32))
        return list(encoder.encode(list(self.inputs)))

    def batches(self, inputs: Sequence[Any]) -> list[_Batch]:
        """Return the inputs in batches of several sizes, each with the model's codes of it."""
        found: list[_Batch] = []
        start = 0
        while start < len(inputs):
            some = list(inputs[start : start + _SIZES[len(found) % len(_SIZES)]])
            found.append((self.graph.feeds(some), self.codes(some)))
            start += len(some)
        return found

    def codes(self, inputs: Sequence[Any]) -> np.ndarray:
        modality = self.graph.modality
        if self.graph.kind == "features":
            return self.model.encode_features(np.stack(inputs), modality=modality)
        return self.model.encode(inputs, modality=modality, on_unknown="keep")

    def same(self, path: Path, batches: Sequence[_Batch]) -> tuple[float, float]:
        """Return the shares of bits and of items for which a graph has the model's codes."""
        session = open_session(path)
        found = np.concatenate([run_graph(session, feeds) for feeds, _ in batches])
        wanted = np.concatenate([codes for _, codes in batches])
        bits = self.model.bits
        same = unpack(found, bits=bits) == unpack(wanted, bits=bits)
        return float(same.mean()), float(same.all(axis=1).mean())

    def check(
        self, path: Path, batches: Sequence[_Batch], *, precision: str, layers: str = ""
    ) -> CheckedGraph:
        bits, codes = self.same(path, batches)
        modality, items = self.graph.modality, sum(len(codes) for _, codes in batches)
        if bits < WANTED[precision]:
            step = {
                "int8": "leave --int8 out, or give more items of your own (--data)",
                "float32": "encode with proxyhash, and please report this with the name of the "
                "encoder",
            }[precision]
            raise ProxyhashError(
                f"the {modality} graph in {precision} gives {bits:.2%} of the model's bits on "
                f"{items} {_plural(modality)}, where {WANTED[precision]:.1%} are wanted, so "
                f"nothing was written; {step}"
            )
        beside = path.with_name(f"{path.name}.data")
        size = path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
        return CheckedGraph(
            modality, precision, path.name, size, self.graph.kind, items, bits, codes, layers
        )


def _description(
    model: HashModel, graph: Graph, checked: Sequence[CheckedGraph], folder: Path
) -> dict[str, Any]:
    """Return what a program needs to know to use the graphs of a modality."""
    session = open_session(folder / checked[0].file)
    encoder: Any = graph.encoder
    files = _write_files(encoder, folder / graph.modality)
    return {
        "format": FORMAT,
        "made_by": f"proxyhash {__version__}",
        "model": model.fingerprint,
        "method": model.method,
        "modality": graph.modality,
        "encoder": None if encoder is None else encoder.kind,
        "graphs": {
            each.precision: {
                "file": each.file,
                "bytes": each.bytes,
                "layers": each.layers or "all in float32",
                "checked_with": each.items,
                "share_of_bits": round(each.bits, 6),
                "share_of_codes": round(each.codes, 6),
            }
            for each in checked
        },
        "inputs": [
            {"name": each.name, "type": each.type, "shape": each.shape}
            for each in session.get_inputs()
        ],
        "outputs": {
            "codes": "uint8 (items, bytes): packed bits",
            "logits": "float32 (items, bits): their signs are the bits",
        },
        "bits": model.bits,
        "bytes": code_bytes(model.bits),
        "packing": "bit 0 is the highest bit of byte 0, as numpy.packbits has it; a bit is 1 where "
        "its logit is above 0; bits after the last one are 0",
        "preprocessing": _preprocessing(graph, files),
    }


def _write_files(encoder: Any, folder: Path) -> list[str]:
    """Write the published files of an encoder's model, and return their names."""
    if not isinstance(encoder, (TransformersImageEncoder, TransformersTextEncoder)):
        return []
    folder.mkdir()
    encoder.files.write(folder)
    return sorted(
        f"{folder.name}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file()
    )


def _preprocessing(graph: Graph, files: list[str]) -> dict[str, Any]:
    encoder: Any = graph.encoder
    if isinstance(encoder, TransformersImageEncoder):
        return {
            "files": files,
            "steps": f"turned upright by EXIF, converted to RGB, {encoder.preparation}",
            "value": _affine(encoder),
        }
    if isinstance(encoder, TransformersTextEncoder):
        recipe = encoder.text_recipe.to_json()
        return {
            "files": files,
            "steps": "prompt before the text, lower case where it says so, then the tokenizer of "
            "the files, cut at max_tokens, padded to the longest of a batch or to the shape's "
            "length",
            "max_tokens": encoder.max_tokens,
            "prompts": {role: recipe[role] for role in ("query", "document")},
            "lower": recipe["lower"],
            "add_end_token": recipe["end"],
        }
    if isinstance(encoder, BagOfWords):
        return {
            "steps": "how often each word occurs in the text, float32; words are runs of two or "
            "more letters, digits and underscores of the text in lower case, cut as by "
            + (
                "scikit-learn's CountVectorizer"
                if encoder.tokens == 1
                else "proxyhash.encoders.words.words_of"
            ),
            "words": list(encoder.words),
        }
    return {"steps": "features as the model's encoder returns them, float32"}


def _affine(encoder: TransformersImageEncoder) -> dict[str, Any]:
    """Return factor and summand by channel of a pixel value from 0 to 255, where they tell all."""
    import torch

    try:
        shift, one = encoder.normalized(
            torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
        )
    except ModelError:
        return {"rule": "rescaled and normalized as the files say"}
    return {
        "rule": "pixel (0 to 255) * scale + shift, by channel",
        "scale": (one - shift).flatten().tolist(),
        "shift": shift.flatten().tolist(),
    }


def _plural(modality: Modality) -> str:
    return MODALITIES[modality].plural if modality in MODALITIES else f"{modality}s"


def _length(source: Any) -> int:
    return len(source) if isinstance(source, str) else 0
