"""`proxyhash export`: a trained model for other programs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, ModelArgument, examples
from proxyhash.errors import DataError, UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.data import Collection

__all__ = ["register"]

_LEAST = 8
"""Inputs that a graph is checked with at least."""


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
    model: ModelArgument,
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
            help="Manifest or folder of items to check the graphs with. Default: those of the run, "
            "and generated ones for what it lacks.",
            show_default=False,
            metavar="PATH",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Number of images and texts to check with.", min=_LEAST, metavar="N")
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
    with _inputs(model, data, names, samples) as inputs:
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
def _inputs(
    model: Path, data: Path | None, names: Sequence[str], count: int
) -> "Iterator[dict[str, list[Any]]]":
    """Yield what to check with, by modality: of --data, or of the run, else generated."""
    from tempfile import TemporaryDirectory

    from proxyhash.data import MODALITIES, read_collection
    from proxyhash.datasets.scenes import generate_scenes

    collection = _of_run(model) if data is None else read_collection(data)
    found = {} if collection is None else _sources(collection, names, count)
    few = [name for name in names if len(found.get(name, ())) < _LEAST]
    if not few:
        yield found
        return
    if data is not None:
        has, plural = len(found[few[0]]), MODALITIES[few[0]].plural
        raise DataError(
            f"{data} has {has} {plural}, and {_LEAST} are needed to check a graph; give other "
            "items with --data"
        )
    if collection is not None:
        what = " and ".join(MODALITIES[name].plural for name in few)
        console.note(f"{collection.path} has too few {what}; checking with generated ones")
    with TemporaryDirectory() as folder:
        scenes = generate_scenes(Path(folder) / "scenes", items=200, seed=0)
        made = _sources(scenes, few, count)
        if none := [name for name in few if not made[name]]:
            raise UsageError(
                f"no {MODALITIES[none[0]].plural} can be generated to check the graph with; give "
                "items that have some with --data, or export the others with --modality"
            )
        yield found | made


def _of_run(model: Path) -> "Collection | None":
    """Return the items of a run; None, and a note that says why, where there are none."""
    from proxyhash.data.run_data import read_run_collection
    from proxyhash.errors import ProxyhashError

    if not (model / "config.json").is_file() or not (model / "model").is_dir():
        console.note("checking with generated images and texts; --data takes some of your own")
        return None
    try:
        return read_run_collection(model)
    except ProxyhashError as error:
        console.note(f"{error}; checking with generated images and texts")
        return None


def _sources(collection: "Collection", names: Sequence[str], count: int) -> dict[str, list[Any]]:
    """Return, by modality, sources of up to `count` items that have it, from all over them."""
    import numpy as np

    found = {}
    for name in names:
        there = [each for each in collection.sources(name) if each is not None]
        rows = np.linspace(0, max(len(there) - 1, 0), min(count, len(there))).astype(int)
        found[name] = [there[row] for row in rows]
    return found
