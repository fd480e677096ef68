"""`proxyhash keys`: who may use a service."""

from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, examples

__all__ = ["register"]

FileArgument = Annotated[Path, typer.Argument(help="File of keys.", show_default=False)]
NameArgument = Annotated[str, typer.Argument(help="Who has the key.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    group = typer.Typer(
        help="Make, list and remove keys of a service; it keeps their hashes only.",
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
    write: Annotated[bool, typer.Option("--write", help="May change items, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it; it cannot be shown again.

    A service takes it in at the next reload (SIGHUP).
    """
    from proxyhash.service.keys import KeyFile

    keys = KeyFile.read(file) if file.exists() else KeyFile(file)
    scope = "write" if write else "read"
    _, secret = keys.add(name, scope=scope)
    if as_json:
        console.emit_json({"name": name, "scope": scope, "key": secret})
    else:
        console.note(f"{name} may {scope}; keep this key, it cannot be shown again:")
        console.out(secret)


def list_keys(file: FileArgument, as_json: JsonOption = False) -> None:
    """Print who has a key and what it allows."""
    from proxyhash.service.keys import KeyFile

    keys = KeyFile.read(file).keys
    rows = [{"name": key.name, "scope": key.scope, "created": key.created} for key in keys]
    if as_json:
        console.emit_json(rows)
    else:
        console.table(["name", "scope", "created"], [list(row.values()) for row in rows])


def remove(file: FileArgument, name: NameArgument) -> None:
    """Take a key away; a service refuses it from the next reload (SIGHUP) on."""
    from proxyhash.service.keys import KeyFile

    KeyFile.read(file).remove(name)
    console.note(f"{name} has no key any more")
