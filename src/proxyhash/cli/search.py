"""`proxyhash search`: what in a run's gallery is nearest to a text, a picture or an item."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import DataOption, DeviceOption, JsonOption, RunArgument, examples
from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.serving import Answer, RunSearcher

__all__ = ["register", "show_answer"]

TARGETS: "dict[str, Modality]" = {"images": "image", "texts": "text"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            'proxyhash search runs/f64 --text "two dogs run through the snow"',
            "proxyhash search runs/f64 --image dog.jpg -k 5 --json",
            "proxyhash search runs/f64 --id 1000268201 --for images --html alike.html",
        )
    )(search)


def search(
    run: RunArgument,
    text: Annotated[str | None, typer.Option(help="Search with this text.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Search with this picture file.", metavar="FILE")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(help="Search with an item of the collection: its image, else its text."),
    ] = None,
    count: Annotated[int, typer.Option("-k", help="How many items to find.", min=1)] = 12,
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
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find the items of a run's gallery whose codes are nearest to a query's.

    Give exactly one of --text, --image and --id. Distances are Hamming distances in bits; equal
    ones are ordered by id.
    """
    if sum(query is not None for query in (text, image, id)) != 1:
        raise UsageError("give exactly one of --text, --image and --id to search with")
    if target is not None:
        check_option("--for", target, TARGETS)
    from proxyhash.serving import RunSearcher

    searcher = RunSearcher.open(run, data=data, device=device)
    wanted = TARGETS[target] if target else None
    if text is not None:
        answer = searcher.search_text(text, k=count, target=wanted or "image")
    elif image is not None:
        answer = searcher.search_image(image, k=count, target=wanted or "text")
    else:
        answer = searcher.search_id(str(id), k=count, target=wanted)
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
            [hit["id"], hit["distance"], hit["text"] or "", ", ".join(hit["labels"])]
            for hit in answer.to_dict()["hits"]
        ],
        title=str(answer),
        right=["distance"],
    )


def write_html(path: Path, answer: "Answer", searcher: "RunSearcher") -> None:
    """Write the page of one answer."""
    from proxyhash.serving.page import write_page

    run = searcher.run
    write_page(
        path,
        [answer],
        title=f"Search in {run.folder.name}",
        footer=f"Run {run.folder.name}, {answer.bits} bits, model {run.codes.model[:12]}.",
    )
