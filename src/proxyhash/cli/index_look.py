"""`proxyhash index info` and `index verify`: what an index holds, and whether all of it is well."""

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import IndexArgument, JsonOption, examples
from proxyhash.errors import DataError

__all__ = ["add_verbs"]


def add_verbs(commands: typer.Typer) -> None:
    """Add the verbs to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index info photos.index",
            "proxyhash index info photos.db --json",
        )
    )(info)
    commands.command(epilog=examples("proxyhash index verify photos.index"))(verify)


def info(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Print what an index is and holds: items, bits, model, size, and how it is searched."""
    from proxyhash.catalog.manage import describe_index

    described = describe_index(index)
    if as_json:
        console.emit_json(described)
        return
    console.table(
        ["", index], [[name.replace("_", " "), _shown(value)] for name, value in described.items()]
    )


def verify(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Read all of an index folder and compare checksums; exit code 3 when something is wrong."""
    from proxyhash.catalog.manage import verify_index

    problems = verify_index(index)
    if as_json:
        console.emit_json({"index": index, "problems": problems})
    else:
        for problem in problems:
            console.out(console.printable(problem))
    if problems:
        plural = "s" if len(problems) > 1 else ""
        raise DataError(f"{index}: {len(problems):,} problem{plural}, listed above")
    if not as_json:
        console.out(f"{index}: no problem")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({_shown(each)})" if isinstance(each, dict) else f"{name} {_shown(each)}"
            for name, each in value.items()
        )
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
