"""Write docs/cli.md from what the command line declares: `python docs/generate_cli.py`.

The text is built from names, help and defaults, not from the printed help, so that it does not
change with the width of a terminal or the release of typer. A test compares the file with `render`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from proxyhash.cli.app import app
from proxyhash.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).with_name("cli.md")

INTRODUCTION = """\
# Command line

<!-- Written by docs/generate_cli.py; `make docs` writes it again. -->

Results go to standard output, and with `--json` nothing but JSON; progress, notes and errors go to
standard error: a bar on a terminal, elsewhere a plain line after a second and then every few.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage: an option, argument or setting |
| 3 | bad data, or a model or run folder that does not fit |
| 4 | an optional dependency is missing; the message has the `pip` command |
| 130 | interrupted |

`proxyhash --version` prints the version; `proxyhash --debug VERB ...`, or `PROXYHASH_DEBUG=1`,
shows tracebacks, warnings and debug messages. `PROXYHASH_CACHE` names the folder of the feature
cache, default `~/.cache/proxyhash`.
"""


def render() -> str:
    """Return the whole of docs/cli.md."""
    root = get_command(app)
    return "\n".join([INTRODUCTION, *_sections(root, "proxyhash")])


def _sections(command: Any, name: str) -> Iterator[str]:
    """The section of one verb, or of everything in a group."""
    children = getattr(command, "commands", None)
    if children is not None:
        for key, child in children.items():
            yield from _sections(child, f"{name} {key}")
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each
        for each in command.params
        if each.param_type_name == "option" and not each.hidden  # former names
    ]
    usage = " ".join([name, *map(_argument_name, arguments), *(["[OPTIONS]"] if options else [])])
    yield f"## {name}\n\n```text\n{usage}\n```\n\n{command.help}\n"
    if arguments:
        yield _table("argument", [(f"`{_argument_name(each)}`", each) for each in arguments])
    if options:
        yield _table("option", [(_option_names(each), each) for each in options])
    if command.epilog:
        lines = command.epilog.replace("\\[", "[").splitlines()[1:]
        yield "\n".join(["```sh", *lines, "```\n"])


def _table(what: str, rows: list[tuple[str, Any]]) -> str:
    lines = [f"| {what} | meaning | default |", "|---|---|---|"]
    lines += [
        " | ".join([f"| {_cell(names)}", _cell(each.help or ""), f"{_default(each)} |"])
        for names, each in rows
    ]
    return "\n".join(lines) + "\n"


def _argument_name(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option_names(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    return f"{names} `{parameter.metavar or parameter.name.upper()}`"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return f"`{parameter.show_default}`"
    value = parameter.default
    if parameter.secondary_opts and value is not None:
        names = parameter.opts if value else parameter.secondary_opts
        return f"`{names[0]}`"
    return f"`{value}`" if value or (value == 0 and value is not False) else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write_text(TARGET, render())
