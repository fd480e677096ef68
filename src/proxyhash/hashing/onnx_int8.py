"""8-bit versions of ONNX graphs: as many layers as leave the codes what they are.

Matrix products and embeddings are quantized dynamically (weights before, activations as they come),
per channel. Convolutions are quantized statically, with ranges from sample inputs: dynamically
quantized ones are slower than in float32, and gave codes with no more than half of the bits right.

Rounding adds up from layer to layer, and a bit is a sign, so a network with all layers in 8 bits
rarely keeps 99 % of them. How many layers, counted from the output, can be in 8 bits is found by
bisection on sample inputs; the others stay in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from proxyhash.errors import ProxyhashError, UsageError, require_extra
from proxyhash.hashing.onnx_graph import save_graph

__all__ = ["Quantized", "quantize"]

_MARGIN = 0.002
"""Share of bits above the wanted one that the choice of layers must have, on its own samples."""


@dataclass(frozen=True)
class Quantized:
    """Layers of a quantized graph.

    Attributes:
        layers: of those with weights, how many, counted from the output, are in 8 bits.
        of: how many there are.
        embeddings: how many tables of embeddings are in 8 bits.
    """

    layers: int
    of: int
    embeddings: int

    def __str__(self) -> str:
        tables = {0: "", 1: " and the embedding"}.get(self.embeddings, " and the embeddings")
        if self.layers == self.of:
            return f"all {self.of} layers{tables} in 8 bits"
        return f"the last {self.layers} of {self.of} layers{tables} in 8 bits, others in float32"


def quantize(
    graph: Path,
    path: Path,
    *,
    batches: Sequence[Mapping[str, np.ndarray]],
    share: Callable[[Path], float],
    wanted: float,
) -> Quantized:
    """Write the graph with as many layers in 8 bits as leave the wanted share of bits.

    Args:
        graph: in float32, from `write_graph`.
        path: the new file.
        batches: inputs, from which the ranges of convolutions are taken.
        share: returns the share of bits of a graph that are those of the model.
        wanted: the least share of bits.

    Raises:
        UsageError: the graph is so large that its weights lie beside it.
        ProxyhashError: not even its last layer can be in 8 bits.
        MissingExtraError: onnxruntime is not installed.
    """
    require_extra("onnxruntime", extra="onnx", purpose="quantizing an ONNX graph")
    if graph.with_name(f"{graph.name}.data").exists():
        raise UsageError(
            f"{graph.name} has so many weights that they need a file of their own, and such graphs "
            "are not made in 8 bits; leave --int8 out"
        )
    with TemporaryDirectory(dir=path.parent) as folder, _quiet():
        base = Path(folder) / "base.onnx"
        layers, tables = _prepare(graph, base)

        def attempt(count: int) -> tuple[float, Path]:
            found = Path(folder) / f"{count}.onnx"
            last = layers[len(layers) - count :]
            _write(base, found, last, tables if count else {}, batches)
            return share(found), found

        least, most = 0, len(layers)  # the first is good enough, what is above the second is not
        best: Path | None = None
        count = most  # at first all of them
        while layers and least < most:
            same, found = attempt(count)
            if same >= min(wanted + _MARGIN, 1.0):
                least, best = count, found
            else:
                found.unlink()
                most = count - 1
            count = (least + most + 1) // 2
        if best is None:
            raise ProxyhashError(
                f"{graph.name} with its last layer alone in 8 bits gives fewer than {wanted:.0%} "
                "of the model's bits, so nothing is written; leave --int8 out for float32 alone"
            )
        import onnx

        save_graph(onnx.load(str(best)), path)
    return Quantized(least, len(layers), len(tables))


def _prepare(graph: Path, path: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Write a graph that can be quantized; return (name, type) of its layers, and its tables.

    Layers are in the order in which they run.
    """
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shapes take a package more; what else it does is to fuse layers.
    quant_pre_process(str(graph), str(path), skip_symbolic_shape=True)
    model = ONNXModel(onnx.load(str(path)))
    model.replace_gemm_with_matmul()
    model.topological_sort()
    held = {each.name for each in model.model.graph.initializer}
    layers: list[tuple[str, str]] = []
    tables: dict[str, str] = {}
    for place, node in enumerate(model.model.graph.node):
        node.name = node.name or f"node_{place}"
        if node.op_type in ("MatMul", "Conv") and node.input[1] in held:
            layers.append((node.name, node.op_type))
        elif node.op_type == "Gather" and node.input[0] in held and _is_table(model, node):
            tables[node.name] = node.op_type
    model.clean_initializers()
    save_graph(model.model, path)
    return layers, tables


def _is_table(model: Any, node: Any) -> bool:
    import onnx

    array = model.get_initializer(node.input[0])
    return array.data_type == onnx.TensorProto.FLOAT and len(array.dims) == 2


def _write(
    base: Path,
    path: Path,
    layers: Sequence[tuple[str, str]],
    tables: Mapping[str, str],
    batches: Sequence[Mapping[str, np.ndarray]],
) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = iter(batches)

        def get_next(self) -> Any:
            return next(self.waiting, None)

    convolutions = [name for name, kind in layers if kind == "Conv"]
    products = [name for name, kind in layers if kind == "MatMul"] + list(tables)
    source = base
    if convolutions:
        quantize_static(
            str(base),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            nodes_to_quantize=convolutions,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        source = path
    if products:
        quantize_dynamic(str(source), str(path), per_channel=True, nodes_to_quantize=products)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice of onnxruntime's quantization, part of it on the root logger."""
    import onnxruntime

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # onnxruntime's own default
        logging.disable(before)
