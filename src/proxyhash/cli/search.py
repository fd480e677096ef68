"""`proxyhash search`: the items of a run's gallery or an index that are nearest to a query."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import (
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    OverwriteOption,
    examples,
)
from proxyhash.errors import DataError, UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.index.filters import Filter
    from proxyhash.search import Answer, Query, Searcher

__all__ = ["register", "show_answer"]

DEFAULT_K = 12
SHORTLIST, WORDS_WEIGHT = 1000, 0.55  # of `proxyhash.search.SearchOptions`


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            'proxyhash search runs/f64 --text "two dogs run through the snow"',
            "proxyhash search runs/f64 --image dog.jpg -k 5 --json",
            "proxyhash search photos.index --id 1000268201 --for images --html alike.html",
            "proxyhash search photos.index --text beach --where 'labels contains dog and not "
            "price >= 9'",
            'proxyhash search photos.index --text "a red car" --rerank asymmetric',
            "proxyhash search shop.index --text 'blue \"XJ-900\" kayak*' --mode words",
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
        typer.Option(help="Search with a stored item: the code of its image, else of its text."),
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="Search with this code, in hex.", metavar="HEX")
    ] = None,
    vector: Annotated[
        Path | None,
        typer.Option(
            help="Search with features that an encoder computed: one row in a .npy file. "
            "Needs --modality.",
            metavar="FILE",
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Search with another modality that the model encodes, as MODALITY=FILE (or the "
            "content itself, where that is not a file).",
            metavar="MODALITY=...",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Which code of the item asks, or which network encodes the vector, such as image.",
            metavar="MODALITY",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-k",
            help=f"Number of hits; default {DEFAULT_K}, or all with --radius.",
            metavar="COUNT",
            show_default=False,
        ),
    ] = None,
    radius: Annotated[
        int | None,
        typer.Option(
            help="Largest distance of a hit, in bits.", metavar="BITS", show_default=False
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
    rerank: Annotated[
        str | None,
        typer.Option(
            help="asymmetric: order hits by how sure the query is of each bit in which they "
            "differ from it. vectors: by how sure the hits are, too, where an index keeps vectors. "
            "Default: by Hamming distance.",
            metavar="asymmetric|vectors",
            show_default=False,
        ),
    ] = None,
    shortlist: Annotated[
        str,
        typer.Option(
            help="Of the nearest how many --rerank orders: a number or all.", metavar="COUNT|all"
        ),
    ] = str(SHORTLIST),
    mode: Annotated[
        str | None,
        typer.Option(
            help="Find items for a text by code, by its words, or by both. Default: both where the "
            "index has words (`proxyhash index words` adds them), else codes.",
            metavar="codes|words|both",
            show_default=False,
        ),
    ] = None,
    words_weight: Annotated[
        float,
        typer.Option(
            help="Share of the words in the order that --mode both gives, from 0 to 1.",
            metavar="SHARE",
        ),
    ] = WORDS_WEIGHT,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write the answer as one page with thumbnails.", metavar="FILE"),
    ] = None,
    overwrite: OverwriteOption = False,
    data: DataOption = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find the items of a run's gallery or of an index that are nearest to a query.

    Give exactly one of --text, --image, --id, --code, --vector and --input. Distances are Hamming
    distances in bits; equal ones are ordered by id, and how many more are as near as the last is
    said.

    In the text of --text, "words in quotes" are a phrase that a match by words must have, and
    word* is the beginning of one; everything else is taken as it is.
    """
    from proxyhash.catalog.images import images_taken
    from proxyhash.data.images import image_limits
    from proxyhash.search import SearchOptions, open_searcher, search_many

    given = {
        "text": text, "image": image, "item": id, "code": code, "vector": vector, "input": other
    }  # fmt: skip
    if sum(value is not None for value in given.values()) != 1:
        raise UsageError(
            "give exactly one of --text, --image, --id, --code, --vector and --input to search with"
        )
    if html is not None:
        from proxyhash.files import check_output
        from proxyhash.search.page import is_page

        check_output(html, "a page of proxyhash", ours=is_page, overwrite=overwrite)
    query = _query(given, modality=modality)
    options = SearchOptions(
        target=_target(target),
        k=DEFAULT_K if count is None and radius is None else count,
        radius=radius,
        filter=_filter(condition),
        rerank=rerank,
        shortlist=_shortlist(shortlist),
        mode=mode,
        words_weight=words_weight,
    )
    with (
        image_limits(images_taken(where).limits),  # what the index took can be a query
        open_searcher(where, data=data, model=model, device=device) as searcher,
    ):
        (answer,) = search_many(searcher, [query], options)
        answer = searcher.count_ties(answer, filter=options.filter)
    if html is not None:
        write_html(html, answer, searcher)
    if as_json:
        console.emit_json(answer.to_dict())
    else:
        show_answer(answer)
    for remark in answer.remarks:
        console.note(remark)
    if html is not None:
        console.note(f"wrote {html}")


def show_answer(answer: "Answer") -> None:
    """Print the hits as a table."""
    second = [answer.rerank] if answer.rerank else []
    name = "vector_distance" if answer.rerank == "vectors" else "asymmetric"
    third = [] if answer.mode == "codes" else ["words found"]
    console.table(
        ["id", "distance", *second, *third, "text", "labels"],
        [
            [
                hit.id,
                hit.distance,
                *(_of_two(getattr(hit, name)) for _ in second),
                *(", ".join(hit.matched) for _ in third),
                hit.payload.get("text") or "",
                _listed(hit.payload.get("labels")),
            ]
            for hit in answer.hits
        ],
        title=str(answer),
        right=["distance", *second],
    )
    if answer.ties:
        console.out(answer.ties)


def write_html(path: Path, answer: "Answer", searcher: "Searcher") -> None:
    """Write the page of one answer."""
    from proxyhash.search.page import write_page

    name, model = Path(searcher.name).name, searcher.index.model[:12]
    write_page(
        path,
        [answer],
        title=f"Search in {name}",
        footer=f"{name}, {answer.bits} bits, model {model}.",
        stored=searcher.stored_images,
    )


def _of_two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _shortlist(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"--shortlist is {text!r:.40}; give a number, such as 1000, or all")
    return int(text)


def _target(plural: str | None) -> "Modality | None":
    if plural is None:
        return None
    from proxyhash.data import MODALITIES

    names = {kind.plural: name for name, kind in MODALITIES.items()}
    return names[check_option("--for", plural, names)]


def _query(given: dict[str, Any], *, modality: "Modality | None") -> "Query":
    from proxyhash.data import MODALITIES
    from proxyhash.search import Query

    if given["input"] is not None:
        name, _, content = given["input"].partition("=")
        return Query.of(name, Path(content) if MODALITIES[name].is_file else content)
    if given["vector"] is not None:
        given = given | {"vector": _vector(given["vector"])}
    return Query(**given, modality=modality)


def _vector(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False).squeeze()
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy file: {error}") from error


def _filter(condition: str | None) -> "Filter | None":
    if condition is None:
        return None
    from proxyhash.index.filter_text import parse_filter_text

    return parse_filter_text(condition)


def _listed(labels: object) -> str:
    return ", ".join(map(str, labels)) if isinstance(labels, list) else ""
