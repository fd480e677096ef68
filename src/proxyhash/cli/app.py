"""The `proxyhash` command: one file per verb, and exit codes that scripts can rely on."""

import atexit
import errno
import inspect
import io
import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from proxyhash import __version__
from proxyhash.cli import console
from proxyhash.errors import InterruptedRunError, ProxyhashError, UsageError
from proxyhash.registry import add_plugin_files

__all__ = ["DEBUG_VARIABLE", "VERBS", "app", "debugging", "main", "quieten"]

DEBUG_VARIABLE = "PROXYHASH_DEBUG"
"""Set by `--debug`; an environment variable, so that worker processes see it too."""

VERBS = (
    "doctor",
    "demo",
    "up",
    "data",
    "train",
    "evaluate",
    "encode",
    "export",
    "hub",
    "index",
    "search",
    "serve",
    "keys",
    "bench",
    "proxies",
)
"""Files of this room that add a verb: each has `register(app)` and imports the rooms lazily."""


_ANYWHERE = {"--debug": False, "--plugin": True}
"""Options of the root that may also stand behind a verb, and whether each takes a value."""


class _Root(TyperGroup):
    """Takes some options anywhere, and turns Ctrl-C into an error of this package's tree."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first, rest = [], list(args)
        place = 0
        while place < len(rest) and rest[place] != "--":
            name = rest[place].partition("=")[0]
            if name in _ANYWHERE:
                width = 2 if _ANYWHERE[name] and "=" not in rest[place] else 1
                first += rest[place : place + width]
                del rest[place : place + width]
            else:
                place += 1
        return super().parse_args(ctx, first + rest)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "stopped by Ctrl-C; run the same command again: it goes on, or says how to"
            ) from None


app = typer.Typer(
    name="proxyhash",
    cls=_Root,
    help="Short binary codes for images and texts: train, evaluate, encode and search.",
    epilog="Start with: proxyhash demo, or with images of your own: proxyhash up FOLDER\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 bad data, 4 missing extra, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        console.out(f"proxyhash {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 -- its callback prints and exits
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar=DEBUG_VARIABLE,
            help="Print tracebacks, warnings and debug messages on stderr.",
        ),
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            help="Python file with methods, encoders, readers or other members of your own, run "
            "first. Can be given several times.",
            metavar="FILE.py",
        ),
    ] = None,
) -> None:
    os.environ[DEBUG_VARIABLE] = "1" if debug else "0"
    if plugin:
        add_plugin_files(plugin)
    quieten()
    if "TORCHELASTIC_RUN_ID" in os.environ and context.invoked_subcommand not in (
        None,
        "train",
        "encode",
    ):
        raise UsageError(
            f"{context.invoked_subcommand} runs in one process, and torchrun starts several of it; "
            "leave torchrun out, which is for proxyhash train and encode"
        )
    # Idle threads of OpenMP spin by default, and on a machine that is busy with other work every
    # small step then waits for them: measured, ten to forty times slower than with sleeping ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _reflow(group: typer.Typer) -> None:
    """Join the lines of each verb's docstring, so that help wraps at the terminal's width."""
    for verb in group.registered_commands:
        paragraphs = verb.help or inspect.getdoc(verb.callback or group) or ""
        verb.help = "\n\n".join(" ".join(each.split()) for each in paragraphs.split("\n\n"))
    for child in group.registered_groups:
        if child.typer_instance is not None:
            _reflow(child.typer_instance)


for _verb in VERBS:
    import_module(f"proxyhash.cli.{_verb}").register(app)
_reflow(app)


def main() -> None:
    """Run the command line and exit with the code that `proxyhash.errors` gives each failure.

    typer itself exits with 0 after a verb or `--help`, with 2 on wrong usage, and quietly with 1
    when the reader of the output has gone away.
    """
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a text the terminal cannot show is not a failure
            stream.reconfigure(errors="backslashreplace")
    coding = sys.getfilesystemencoding()
    if coding.lower() not in {"utf-8", "utf8"}:
        console.note(f"warning: names of files are read as {coding}; for UTF-8, set PYTHONUTF8=1")
    try:
        _check_arguments(sys.argv[1:])
        app()
    except InterruptedRunError as error:
        _leave(_fail(error, str(error), code=error.exit_code))
    except ProxyhashError as error:
        sys.exit(_fail(error, str(error), code=error.exit_code))
    except OSError as error:
        code = _fail(error, f"the system says: {error}{_disk_advice(error)}", code=1)
        _drop_output()
        sys.exit(code)
    except MemoryError as error:
        sys.exit(_fail(error, "out of memory: use smaller data or a smaller batch", code=1))
    except Exception as error:
        if problem := _wrong_variable():
            sys.exit(_fail(error, problem, code=2))
        what = f"unexpected {type(error).__name__}: {error}"
        hint = "" if debugging() else "\nPlease report it with the output of --debug."
        sys.exit(_fail(error, what + hint, code=1))


def _disk_advice(error: OSError) -> str:
    """Return the next step where a disk is full and the error does not say it yet."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) and "free some space" not in str(error)
    return "; free some space and run the same command again" if full else ""


def _drop_output() -> None:
    """Forget what could not be written: Python would try it again at the end, and exit with 120."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError), Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(error: BaseException, text: str, *, code: int) -> int:
    console.error(text)
    if debugging():
        sys.stderr.write("".join(traceback.format_exception(error)))
    return code


def _leave(code: int) -> NoReturn:
    """Exit at once, after what was registered for the end of the process.

    Who presses Ctrl-C waits for it. Libraries are not taken apart, since torch alone takes seconds
    for that on a busy machine, and threads that still work are not waited for.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class _ClosedOutput(io.TextIOBase):
    """Stands for a standard output that was closed before this process began."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, f"standard output is closed, so {len(text)} letters are lost")


def _open_standard_streams() -> None:
    """Make up for standard streams that are closed: `proxyhash ... >&-`.

    Their numbers are taken, so that no file that is opened later gets them and is written over by
    whatever prints. What would be printed on a closed standard output is an error, when it is.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 -- never closed
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _check_arguments(arguments: list[str]) -> None:
    """Refuse arguments that are not Unicode: JSON, databases and pages could not hold them.

    Raises:
        UsageError: names the argument.
    """
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", errors="replace")
            raise UsageError(
                f"the argument {shown!r} is not UTF-8; rename the file, or write it in UTF-8"
            ) from None


def _wrong_variable() -> str:
    """Return what is wrong with a variable that libraries read for their threads, or ""."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(name, "1")
        if not value.isascii() or not value.isdigit() or int(value) < 1:
            return f"{name} is {value!r}; set it to a number of threads, 1 or more, or unset it"
    return ""


def debugging() -> bool:
    """Return whether tracebacks, warnings and debug messages are wanted."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def quieten() -> None:
    """Show this package's warnings as notes, and hide the messages of other libraries.

    With `--debug` everything is shown. Filters given by the user (`python -W`, PYTHONWARNINGS)
    and variables that are already set are left as they are.
    """
    logger = logging.getLogger("proxyhash")
    logger.handlers = [_NoteHandler()]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debugging() else logging.WARNING)
    recognized = logging.getLogger("proxyhash.data.recognized")  # what a folder or table is
    recognized.setLevel(logging.INFO)
    recognized.filters = [_Once()]
    if debugging():
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _Once(logging.Filter):
    """Lets a message pass the first time only: a verb may read its collection several times."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        fresh = text not in self._seen
        self._seen.add(text)
        return fresh


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.note(self.format(record))
