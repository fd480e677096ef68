"""The `proxyhash` command: one verb a file, and exit codes that scripts can rely on."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from proxyhash import __version__
from proxyhash.cli import console
from proxyhash.errors import ProxyhashError

VERBS = ("doctor", "demo", "data", "train", "evaluate", "encode", "search")

app = typer.Typer(
    name="proxyhash",
    help="Short binary codes for images and texts: train, evaluate, encode and search.",
    epilog="Start with: proxyhash demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        console.out(f"proxyhash {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Root options."""


for _verb in VERBS:
    import_module(f"proxyhash.cli.{_verb}").register(app)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 bad data, 4 extra, 130 stopped."""
    try:
        code = app(standalone_mode=False)
    except ProxyhashError as error:
        console.error(str(error))
        code = error.exit_code
    except typer.TyperError as error: 
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.error("stopped")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
