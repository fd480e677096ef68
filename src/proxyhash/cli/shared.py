"""Arguments and options that several verbs share, and the examples below their help."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from proxyhash.cli import console
from proxyhash.errors import ProxyhashError

if TYPE_CHECKING:
    from proxyhash.training.processes import Processes

__all__ = [
    "BadItemOption",
    "DataOption",
    "DeviceOption",
    "IndexArgument",
    "JsonOption",
    "LabelSeparatorOption",
    "ManifestsOption",
    "MegapixelsOption",
    "ModelArgument",
    "ModelOption",
    "OverwriteOption",
    "RunArgument",
    "accept_old_names",
    "examples",
    "together",
]

RunArgument = Annotated[
    Path, typer.Argument(help="Run folder written by `proxyhash train`.", show_default=False)
]

ModelArgument = Annotated[Path, typer.Argument(help="Run or model folder.", show_default=False)]

IndexArgument = Annotated[
    str,
    typer.Argument(
        help="Index folder, a Milvus Lite file (FILE.db) or the address of a Milvus server.",
        show_default=False,
    ),
]

ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Run or model folder that made the codes. Default: the copy in the index.",
        metavar="RUN",
    ),
]

DataOption = Annotated[
    Path | None,
    typer.Option(help="Where the run's collection is now, if it was moved.", metavar="PATH"),
]

ManifestsOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Manifest or folder of images where the image files are now. Default: those that "
        "the index was built from. Can be given several times.",
        metavar="MANIFEST",
        show_default=False,
    ),
]

BadItemOption = Annotated[
    str,
    typer.Option(
        help="On a row or image that cannot be read: fail, or skip it.",
        metavar="fail|skip",
    ),
]

MegapixelsOption = Annotated[
    float | None,
    typer.Option(
        help="Refuse images of more megapixels. Default: 250 for JPEG, which is decoded at a "
        "smaller size above 64, and 64 for other formats.",
        min=0.001,
        show_default=False,
        metavar="N",
    ),
]

OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the file that is written, whatever it is."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")
]

LabelSeparatorOption = Annotated[
    str | None,
    typer.Option(
        help="What separates the labels in a cell of text. Default: |, or ; in a cell without |.",
        metavar="TEXT",
        show_default=False,
    ),
]

DeviceOption = Annotated[
    str, typer.Option(help="Device of the networks: cpu, cuda, cuda:1, mps.", metavar="DEVICE")
]


def examples(*commands: str) -> str:
    """Return the epilog of a verb: one command per line, taken literally (no rich markup)."""
    return "\n".join(("Examples:", *commands)).replace("[", "\\[")


def accept_old_names(renamed: Mapping[str, str]) -> type[TyperCommand]:
    """Return the class of a verb whose options are still accepted under their former names.

    Former names are in neither the help nor the reference; they stay for one version.

    Args:
        renamed: former name to name, such as {"--only": "--data"}.
    """

    class Renamed(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            options = args[: args.index("--")] if "--" in args else args
            for place, given in enumerate(options):
                name, equals, value = given.partition("=")
                args[place] = renamed.get(name, name) + equals + value
            return super().parse_args(ctx, args)

    return Renamed


@contextmanager
def together() -> "Iterator[Processes]":
    """Yield the processes that torchrun started; one of them speaks for those of its machine."""
    from proxyhash.training.processes import SINGLE, open_processes

    processes = SINGLE
    try:
        with open_processes() as processes:
            if not processes.main:
                console.mute()
            yield processes
    except ProxyhashError as error:
        if processes.silent:
            raise typer.Exit(error.exit_code) from error
        raise
