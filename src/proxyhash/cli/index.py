"""`proxyhash index`: make an index from a run and a manifest, change it, look after it."""

import typer

from proxyhash.cli import index_build, index_change, index_copy, index_look

__all__ = ["register"]

commands = typer.Typer(
    help="Build an index, change it, look after it; `proxyhash search` searches it.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(commands, name="index")


for _part in (index_build, index_change, index_look, index_copy):
    _part.add_verbs(commands)
