"""`proxyhash up`: from a folder of images to a search page, by the commands that do it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.index_vectors import as_kind
from proxyhash.cli.shared import examples
from proxyhash.errors import DataError, InterruptedRunError, check_option

if TYPE_CHECKING:
    from proxyhash.up import Step

__all__ = ["register"]

_BY_WORDS = (
    "a text finds items by its meaning and its words together, so names and numbers are found, too"
)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash up photos/",
            "proxyhash up photos/ --image-encoder google/mobilenet_v2_1.0_224 --bits 128",
            "proxyhash up photos/ --image-encoder google/mobilenet_v2_1.0_224 --tune image",
            "proxyhash up captions.csv --out work/ --no-open --port 9000",
            "proxyhash up photos/ --keep-vectors int8",
        )
    )(up)


def up(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of images, with a folder per class or a table of captions or neither; or "
            "a manifest.",
            metavar="FOLDER",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for run and index; default proxyhash-NAME here.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Code length.", min=1, show_default="64")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Training method.", show_default="by what the collection has"),
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(
            help="Pretrained model of the images: a folder, a hub id or a short name such as "
            "mobilenet.",
            metavar="MODEL",
            show_default="a known one on this machine",
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Encoder of the texts.", metavar="MODEL", show_default="bow"),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            help="Encoders that learn as well, from pretrained weights: image, text, image,text, "
            "or none.",
            metavar="MODALITY,...",
            show_default="none",
        ),
    ] = None,
    keep_vectors: Annotated[
        str | None,
        typer.Option(
            help="Store the network's outputs beside the codes, for `search --rerank vectors`: "
            "int8 in one byte per bit of the code, float in four.",
            metavar="int8|float|none",
            show_default="none, or as the index has it",
        ),
    ] = None,
    on_bad_item: Annotated[
        str,
        typer.Option(
            help="On a row or image that cannot be read: go on without it, or fail.",
            metavar="skip|fail",
        ),
    ] = "skip",
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="End with the search page.")
    ] = True,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of the page.",
            min=0,
            max=65535,
            show_default="8080, or a free one where that is taken",
        ),
    ] = None,
) -> None:
    """Check a folder of images, learn codes, build an index and open a search page.

    Every step is printed as the command that does it, so that each can be done again by hand, with
    other options. Nothing in FOLDER is changed. A stopped `up` goes on where it was; a second one
    takes over new, changed and removed images without training again.

    Where the collection has texts, a search finds items by codes and words together, so that names
    and numbers are found, too; --mode of `proxyhash search` and a switch on the page choose one.
    """
    from proxyhash.up import Workplace

    check_option("--on-bad-item", on_bad_item, ("skip", "fail"))
    named = {
        "bits": bits, "method": method, "image_encoder": image_encoder,
        "text_encoder": text_encoder, "tune": tune,
    }  # fmt: skip
    training = {name: value for name, value in named.items() if value is not None}
    if keep_vectors is not None:
        as_kind(keep_vectors)
    path = out or Workplace.default_path(data)
    work = Workplace(data, path, training, on_bad_item, keep_vectors)
    work.claim()
    start = time.monotonic()
    for number, step in enumerate(work.steps(serve=serve, port=port, open_page=open_page), start=1):
        if step.arguments[0] == "serve":
            seconds = time.monotonic() - start
            took = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"
            console.note(f"\nready after {took}; Ctrl-C ends the page")
            if work.finds_by_words():
                console.note(f"{_BY_WORDS}; the page lets you choose one of the two")
        console.note(f"\n{number}. {step.purpose}:\n   {step}")
        with console.guided():
            _do(step)
    if not serve:
        if work.finds_by_words():
            console.note(f"{_BY_WORDS}; `proxyhash search --mode codes|words` takes one of the two")
        console.next_steps(str(work.page("--open")))


def _do(step: "Step") -> None:
    from typer.main import get_command

    from proxyhash.cli.app import app

    try:
        done = get_command(app).main(
            args=list(step.arguments), prog_name="proxyhash", standalone_mode=False
        )
    except InterruptedRunError:
        raise InterruptedRunError(
            "stopped by Ctrl-C; the same command goes on where it was"
        ) from None
    except DataError as error:
        if not step.may_skip:
            raise
        console.note(str(error))
        done = error.exit_code
    if done and not (step.may_skip and done == DataError.exit_code):
        raise typer.Exit(done)
    if done:
        console.note("going on without what cannot be used")
