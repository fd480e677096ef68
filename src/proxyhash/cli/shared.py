"""Arguments and options that several verbs share, and the examples below their help."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BadItemOption",
    "DataOption",
    "DeviceOption",
    "IndexArgument",
    "JsonOption",
    "ModelOption",
    "RunArgument",
    "examples",
]

RunArgument = Annotated[
    Path, typer.Argument(help="Run folder written by `proxyhash train`.", show_default=False)
]

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
        help="Run or model folder that made the codes; default the copy in the index.",
        metavar="RUN",
    ),
]

DataOption = Annotated[
    Path | None,
    typer.Option(help="Where the run's collection is now, if it was moved.", metavar="PATH"),
]

BadItemOption = Annotated[
    str,
    typer.Option(
        help="What a row or image that cannot be read does: stop the work, or be left out.",
        metavar="fail|skip",
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")
]

DeviceOption = Annotated[
    str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, mps.", metavar="DEVICE")
]


def examples(*commands: str) -> str:
    """Return the epilog of a verb: one command a line, taken literally (no rich markup)."""
    return "\n".join(("Examples:", *commands)).replace("[", "\\[")
