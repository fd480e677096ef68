"""`proxyhash export`: a trained model for other programs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, examples
from proxyhash.errors import DataError, UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.data import Collection

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    group = typer.Typer(help="Write a trained model for other programs.", no_args_is_help=True)
    group.command(
        epilog=examples(
            "proxyhash export onnx runs/f64 onnx/",
            "proxyhash export onnx runs/f64/model onnx/ --int8 --data photos/",
        )
    )(onnx)
    group.callback()(_keep_the_name)
    app.add_typer(group, name="export")


def _keep_the_name() -> None:
    """Write a trained model for other programs."""


def onnx(
    model: Annotated[Path, typer.Argument(help="Run or model folder.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write graphs with layers in 8 bits.")
    ] = False,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Export this half of the model alone, such as image. Default: all.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Manifest or folder of items to check the graphs with. Default: those of the run; "
            "without them, generated ones.",
            show_default=False,
            metavar="PATH",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Number of images and texts to check with.", min=8, metavar="N")
    ] = 256,
    as_json: JsonOption = False,
) -> None:
    """Write ONNX graphs: encoder, hashing network, sign and packing, one per modality.

    onnxruntime then turns prepared images and tokenized texts into codes, without proxyhash and
    torch. Beside each graph, a JSON file describes its inputs, how images and texts are prepared,
    and the bits; files of the image processor and the tokenizer are copied.

    The codes of each graph are compared with the model's: 99.9 % of the bits must be equal in
    float32, 99 % in 8 bits. Otherwise nothing is written, and the exit code is 1.

    Encoders that are not networks (precomputed features, descriptor, patches) stay outside: the
    graph begins with features.
    """
    from dataclasses import asdict

    from proxyhash.errors import require_extra
    from proxyhash.hashing import HashModel, model_folder
    from proxyhash.hashing.onnx_export import export_onnx

    require_extra("onnx", extra="onnx", purpose="exporting ONNX graphs")
    require_extra("onnxruntime", extra="onnx", purpose="exporting ONNX graphs")
    hash_model = HashModel.load(model_folder(model))
    if modality is not None:
        check_option("--modality", modality, hash_model.modalities)
    names = hash_model.modalities if modality is None else (modality,)
    with _collection(model, data) as collection:
        inputs = {name: _sources(collection, name, samples) for name in names}
        graphs = export_onnx(hash_model, out, samples=inputs, int8=int8, track=console.track)
    if as_json:
        console.emit_json({"out": str(out), "graphs": [asdict(graph) for graph in graphs]})
        return
    console.table(
        ["graph", "takes", "MB", "checked with", "equal bits", "equal codes"],
        [
            [
                graph.file,
                graph.starts_with,
                f"{graph.bytes / 1e6:.1f}",
                f"{graph.items} {graph.modality}s",
                f"{graph.bits:.2%}",
                f"{graph.codes:.1%}",
            ]
            for graph in graphs
        ],
        right=["MB", "equal bits", "equal codes"],
    )
    for graph in graphs:
        if graph.layers:
            console.note(f"{graph.file}: {graph.layers}")
        elif graph.starts_with == "features":
            console.note(
                f"{graph.file}: the {graph.modality} encoder is not a network, so the graph begins "
                "with its features"
            )
    first = graphs[0].modality
    console.next_steps(f"less {out / f'{first}.json'}   # what the graph takes, and what it gives")


@contextmanager
def _collection(model: Path, data: Path | None) -> "Iterator[Collection]":
    """Yield the items to check with: those of --data or of the run, else generated ones."""
    from tempfile import TemporaryDirectory

    from proxyhash.data import read_collection
    from proxyhash.data.run_data import read_run_collection
    from proxyhash.datasets.scenes import generate_scenes
    from proxyhash.errors import ProxyhashError

    if data is not None:
        yield read_collection(data)
        return
    if (model / "config.json").is_file() and (model / "model").is_dir():
        try:
            collection = read_run_collection(model)
        except ProxyhashError as error:
            console.note(f"{error}; checking with generated images and texts")
        else:
            yield collection
            return
    else:
        console.note("checking with generated images and texts; --data takes some of your own")
    with TemporaryDirectory() as folder:
        yield generate_scenes(Path(folder) / "scenes", items=200, seed=0)


def _sources(collection: "Collection", modality: str, count: int) -> list[Any]:
    """Return sources of up to `count` items that have the modality, from all over them."""
    import numpy as np

    from proxyhash.data import MODALITIES

    there = [each for each in collection.sources(modality) if each is not None]
    if not there:
        plural = MODALITIES[modality].plural
        raise DataError(
            f"{collection.path} has no {plural} to check the graph with; give some with --data"
        )
    if len(there) < 8:
        raise UsageError(
            f"{collection.path} has {len(there)} items with {modality}, and eight are needed to "
            "check a graph; give others with --data"
        )
    rows = np.linspace(0, len(there) - 1, min(count, len(there))).astype(int)
    return [there[row] for row in rows]
