"""`proxyhash search`: what in a run's gallery or an index is nearest to a text, image or item."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import DataOption, DeviceOption, JsonOption, ModelOption, examples
from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.search import Answer, Searcher

__all__ = ["register", "show_answer"]

TARGETS: "dict[str, Modality]" = {"images": "image", "texts": "text"}
COUNT = 12


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            'proxyhash search runs/f64 --text "two dogs run through the snow"',
            "proxyhash search runs/f64 --image dog.jpg -k 5 --json",
            "proxyhash search photos.index --id 1000268201 --for images --html alike.html",
            "proxyhash search photos.index --text beach --where 'labels contains dog and not "
            "price >= 9'",
            "proxyhash search http://localhost:19530 --model runs/f64 --image dog.jpg --radius 8",
        )
    )(search)


def search(
    where: Annotated[
        str,
        typer.Argument(
            help="Run folder, index folder, Milvus Lite file or address of a Milvus server.",
            metavar="RUN|INDEX",
            show_default=False,
        ),
    ],
    text: Annotated[str | None, typer.Option(help="Search with this text.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Search with this image file.", metavar="FILE")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(help="Search with an item of the collection: its image, else its text."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-k",
            help=f"How many items to find; {COUNT}, or with --radius all, by default.",
            min=1,
            metavar="COUNT",
            show_default=False,
        ),
    ] = None,
    radius: Annotated[
        int | None,
        typer.Option(
            help="No item farther than this many bits.", min=0, metavar="BITS", show_default=False
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--where",
            help="Only items whose payload meets this: fields compared with = != < <= > >= or "
            "`contains`, joined by and, or, not and parentheses.",
            metavar="CONDITION",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="What to find. Default: images for a text, texts for an image.",
            metavar="images|texts",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write the answer as one page with thumbnails.", metavar="FILE"),
    ] = None,
    data: DataOption = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find the items of a run's gallery, or of an index, whose codes are nearest to a query's.

    Give exactly one of --text, --image and --id. Distances are Hamming distances in bits; equal
    ones are ordered by id.
    """
    if sum(query is not None for query in (text, image, id)) != 1:
        raise UsageError("give exactly one of --text, --image and --id to search with")
    if target is not None:
        check_option("--for", target, TARGETS)
    options: dict[str, Any] = {
        "k": COUNT if count is None and radius is None else count,
        "target": TARGETS[target] if target else None,
        "radius": radius,
    }
    if condition is not None:
        from proxyhash.index.filter_text import parse_filter_text

        options["filter"] = parse_filter_text(condition)
    with _open(where, data=data, model=model, device=device) as searcher:
        if text is not None:
            answer = searcher.search_text(text, **options)
        elif image is not None:
            answer = searcher.search_image(image, **options)
        else:
            answer = searcher.search_id(str(id), **options)
    if html is not None:
        write_html(html, answer, searcher)
    if as_json:
        console.emit_json(answer.to_dict())
    else:
        show_answer(answer)
    if html is not None:
        console.note(f"wrote {html}")


def show_answer(answer: "Answer") -> None:
    """Print the hits as a table."""
    console.table(
        ["id", "distance", "text", "labels"],
        [
            [
                hit.id,
                hit.distance,
                hit.payload.get("text") or "",
                _listed(hit.payload.get("labels")),
            ]
            for hit in answer.hits
        ],
        title=str(answer),
        right=["distance"],
    )


def write_html(path: Path, answer: "Answer", searcher: "Searcher") -> None:
    """Write the page of one answer."""
    from proxyhash.search.page import write_page

    name, model = Path(searcher.name).name, searcher.index.model[:12]
    write_page(
        path,
        [answer],
        title=f"Search in {name}",
        footer=f"{name}, {answer.bits} bits, model {model}.",
        stored=searcher.thumbnails,
    )


def _open(where: str, *, data: Path | None, model: Path | None, device: str) -> "Searcher":
    from proxyhash.search import IndexSearcher, RunSearcher

    if IndexSearcher.recognizes(where):
        if data is not None:
            raise UsageError("--data is for runs; an index holds what it shows")
        return IndexSearcher.open(where, model=model, device=device)
    if model is not None:
        raise UsageError("--model is for indexes; a run has its own model")
    return RunSearcher.open(where, data=data, device=device)


def _listed(labels: object) -> str:
    return ", ".join(map(str, labels)) if isinstance(labels, list) else ""
