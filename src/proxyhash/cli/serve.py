"""`proxyhash serve`: an index over HTTP, with a search page."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import DeviceOption, examples

if TYPE_CHECKING:
    from proxyhash.service import Settings

__all__ = ["register", "run_service"]

_UPLOAD_BYTES, _MOST_UPLOAD_BYTES = 10_000_000, 200_000_000
"""The least and the most that an upload may have where --upload-mb is not given."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash serve indexes/flickr --open",
            "proxyhash serve photos.index --originals photos/ --open",
            "proxyhash keys add keys.json loader --write",
            "proxyhash serve indexes/flickr --host 0.0.0.0 --keys keys.json --write",
            "proxyhash serve indexes/flickr --guard --limit k=2000 --limit connections=500",
        )
    )(serve)


def serve(
    index: Annotated[
        str,
        typer.Argument(
            help="Index folder, Milvus Lite file or address of a Milvus server.", show_default=False
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run or model folder that made the codes. Default: the copy in the index.",
            metavar="RUN",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Any but this machine's own (loopback) needs --keys."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 for any free one.", min=0, max=65535)
    ] = 8080,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="Key file made by `proxyhash keys add`. With it, reading needs a key, too.",
            metavar="FILE",
        ),
    ] = None,
    open_reads: Annotated[
        bool,
        typer.Option("--open-reads", help="Do not ask for a key to read on a loopback address."),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Allow keys of scope write to change items.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name that requests may use, such as behind a proxy. "
            "Can be given several times.",
            metavar="NAME",
        ),
    ] = None,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Also log what is searched for.")
    ] = False,
    originals: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the image paths of the items begin in, usually the manifest's. The "
            "page then shows original images in full; without it, thumbnails.",
            metavar="FOLDER",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    upload_mb: Annotated[
        float | None,
        typer.Option(
            help="Size limit of an uploaded image, in MB. Default: 10, or the largest image file "
            "that went into the index.",
            min=0.001,
            show_default=False,
        ),
    ] = None,
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            help="Refuse images of more megapixels. Default: as the index was built.",
            min=0.001,
            show_default=False,
            metavar="N",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Time limit of a request, in seconds.", min=0.1)
    ] = 30.0,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="Another limit, such as k=2000 or connections=500; docs/serving.md lists them. "
            "Can be given several times.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard", help="Watch over the service, and start it again where it crashes."
        ),
    ] = False,
    device: DeviceOption = "cpu",
    engine: Annotated[
        str | None,
        typer.Option(
            help="Engine that searches an index folder, such as scan or cuda, which shares the "
            "codes among all GPUs that CUDA_VISIBLE_DEVICES names. Default: auto, the fastest as "
            "measured.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Serve an index over HTTP: search, encode, change items, and a search page.

    On a terminal only warnings are shown; elsewhere the log is JSON, a line per request.

    Listens on this machine only unless told otherwise. SIGHUP reopens index, model and keys
    without dropping a request; SIGTERM and Ctrl-C finish what is under way.
    """
    from proxyhash.service import Limits, Settings

    settings = Settings(
        index=index,
        model=model,
        device=device,
        engine=engine,
        write=write,
        keys=keys,
        host=host,
        open_reads=open_reads,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        originals=originals,
        log_queries=log_queries,
        limits=Limits.read(
            limit or (), **_image_limits(index, upload_mb, max_megapixels), seconds=seconds
        ),
    )
    run_service(settings, port=port, open_page=open_page, guarded=guard)


def _image_limits(
    index: str, upload_mb: float | None, max_megapixels: float | None
) -> dict[str, float]:
    """Return limits of uploaded images: those given, else what the index took itself."""
    from proxyhash.catalog.images import images_taken

    taken = images_taken(index)
    largest = max(_UPLOAD_BYTES, min(taken.largest_file, _MOST_UPLOAD_BYTES))
    limits: dict[str, float] = {
        "upload_bytes": largest if upload_mb is None else int(upload_mb * 1_000_000)
    }
    pixels = taken.max_pixels if max_megapixels is None else int(max_megapixels * 1_000_000)
    return limits if pixels is None else limits | {"pixels": pixels}


def run_service(settings: "Settings", *, port: int, open_page: bool, guarded: bool = False) -> None:
    """Open the index of the settings and serve it until a signal arrives."""
    from proxyhash.service import Service
    from proxyhash.service.monitoring import log_for
    from proxyhash.service.server import listen
    from proxyhash.service.server import serve as serve_http

    listener, first = None, True
    if guarded:
        from proxyhash.service.guard import guard

        log_for(sys.stderr.isatty())
        listener = listen(settings.host, port)  # clients that come while it restarts wait
        first = guard()
    service = Service(settings)

    def started(address: str) -> None:
        if not first:
            return
        console.out(f"serving {settings.index} at {address}")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    log_for(sys.stderr.isatty())
    serve_http(service, port=port, listener=listener, started=started)
