"""`proxyhash keys`: the API keys of a service."""

from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, examples

__all__ = ["register"]

FileArgument = Annotated[Path, typer.Argument(help="Key file.", show_default=False)]
NameArgument = Annotated[
    str, typer.Argument(help="Name of the key, as logs show it.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    group = typer.Typer(
        help="Add, list and revoke the API keys of a service; only their hashes are stored.",
        no_args_is_help=True,
    )
    group.command(
        epilog=examples(
            "proxyhash keys add keys.json page", "proxyhash keys add keys.json loader --write"
        )
    )(add)
    group.command("list", epilog=examples("proxyhash keys list keys.json"))(list_keys)
    group.command(epilog=examples("proxyhash keys remove keys.json page"))(remove)
    app.add_typer(group, name="keys")


def add(
    file: FileArgument,
    name: NameArgument,
    write: Annotated[bool, typer.Option("--write", help="Also allow changing items.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate a key and print it; it cannot be shown again.

    A service accepts it from its next reload (SIGHUP) on.
    """
    from proxyhash.service.keys import KeyFile

    keys = KeyFile.read(file) if file.exists() else KeyFile(file)
    scope = "write" if write else "read"
    _, secret = keys.add(name, scope=scope)
    if as_json:
        console.emit_json({"name": name, "scope": scope, "key": secret})
    else:
        console.note(f"key of {name}, scope {scope}; store it now, it cannot be shown again:")
        console.out(secret)


def list_keys(file: FileArgument, as_json: JsonOption = False) -> None:
    """Print the names and scopes of all keys."""
    from proxyhash.service.keys import KeyFile

    keys = KeyFile.read(file).keys
    rows = [{"name": key.name, "scope": key.scope, "created": key.created} for key in keys]
    if as_json:
        console.emit_json(rows)
    else:
        console.table(["name", "scope", "created"], [list(row.values()) for row in rows])


def remove(file: FileArgument, name: NameArgument) -> None:
    """Revoke a key; a service refuses it from its next reload (SIGHUP) on."""
    from proxyhash.service.keys import KeyFile

    KeyFile.read(file).remove(name)
    console.note(f"revoked the key of {name}")
