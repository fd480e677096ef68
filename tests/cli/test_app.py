"""Exit codes, help and start-up of the command, in real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from proxyhash import __version__
from proxyhash.cli import console
from proxyhash.cli.app import VERBS, app
from tests.cli.conftest import PROXYHASH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAVY = ("torch", "transformers", "numba", "sklearn", "scipy", "numpy", "PIL", "matplotlib")

# A process whose command line has one verb more, `act`, that runs the given statements.
ACT = """
import sys
from proxyhash import errors
from proxyhash.cli import console, main
from proxyhash.cli.app import app

@app.command()
def act() -> None:
    {body}

main()
"""


def act(
    body: str, *options: str, timeout: float = 60, **pipes: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ACT.format(body=body), *options, "act"],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def test_help_is_there_without_heavy_libraries() -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['proxyhash', '--help']\n"
        "try:\n"
        "    from proxyhash.cli import main; main()\n"
        "finally:\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print('LOADED', loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in done.stdout
    assert "LOADED []" in done.stdout


def test_the_package_runs_where_no_script_is_on_the_path() -> None:
    command = [sys.executable, "-m", "proxyhash"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("proxyhash ")
    done = subprocess.run([*command, "data", "check", "nowhere"], check=False, capture_output=True)
    assert (done.returncode, b"nowhere does not exist" in done.stderr) == (3, True)


def test_help_costs_little_more_than_the_libraries_that_print_it(proxyhash_process) -> None:
    def seconds(run: Callable[[], object]) -> float:
        """Processor time, the least of three, which other work lengthens least."""
        least = float("inf")
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            least = min(least, used)
        return least

    libraries = [sys.executable, "-c", "import typer.rich_utils, rich.console, rich.table"]
    floor = seconds(lambda: subprocess.run(libraries, check=True))
    assert seconds(lambda: proxyhash_process("--help")) < 3 * floor


def test_version(proxyhash_process) -> None:
    result = proxyhash_process("--version")
    assert (result.code, result.out, result.err) == (0, f"proxyhash {__version__}\n", "")


def test_no_arguments_show_help(proxyhash_process) -> None:
    assert "Usage: " in proxyhash_process().out


def verbs(command: Any, name: str = "") -> Iterator[str]:
    """Every verb that does something: "search", "data check"."""
    if not hasattr(command, "commands"):
        yield name
    for key, child in getattr(command, "commands", {}).items():
        yield from verbs(child, f"{name} {key}".strip())


@pytest.mark.parametrize("verb", list(verbs(get_command(app))))
def test_every_verb_has_help_with_examples(proxyhash_command, verb) -> None:
    result = proxyhash_command(*verb.split(), "--help")
    assert result.code == 0
    assert f"proxyhash {verb} " in result.out.partition("Examples:")[2]


def test_each_file_of_a_verb_is_registered() -> None:
    files = Path(console.__file__).parent.glob("*.py")
    verbs = {path.stem for path in files if "\ndef register(" in path.read_text("utf-8")}
    assert verbs == set(VERBS)


def test_verbs_of_one_process_are_refused_under_torchrun(proxyhash_command, monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    refused = proxyhash_command("doctor")
    assert refused.code == 2
    assert "doctor runs in one process, and torchrun starts several of it" in refused.err
    assert proxyhash_command("train", "--resume").code == 2  # its own complaint, not this one
    assert proxyhash_command("--version").code == 0


def test_wrong_usage_is_2_and_leaves_stdout_empty(proxyhash_process) -> None:
    for arguments in (["--nope"], ["nope"]):
        result = proxyhash_process(*arguments)
        assert result.code == 2
        assert result.out == ""
        assert "nope" in result.err


def test_success_is_0() -> None:
    done = act("console.out('fine')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ProxyhashError", 1),
        ("DivergedError", 1),
        ("UsageError", 2),
        ("DataError", 3),
        ("ManifestError", 3),
        ("ImageError", 3),
        ("FeatureError", 3),
        ("ModelError", 3),
        ("MissingExtraError", 4),
        ("InterruptedRunError", 130),
    ],
)
def test_each_error_has_its_exit_code(proxyhash_command, monkeypatch, error, code) -> None:
    from proxyhash import errors

    def verb() -> None:
        raise getattr(errors, error)("what happened, what to do")

    monkeypatch.setattr(app, "registered_commands", [])
    app.command("act")(verb)
    result = proxyhash_command("act")
    assert (result.code, result.out) == (code, "")
    assert result.err == "proxyhash: what happened, what to do\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise errors.DivergedError('no')", 1),
        ("raise errors.DataError('no')", 3),
        ("raise errors.MissingExtraError('no')", 4),
        ("raise errors.InterruptedRunError('no')", 130),
    ],
)
def test_exit_codes_of_real_processes(body, code) -> None:
    done = act(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "proxyhash: no\n")


def test_an_unexpected_error_says_so_and_debug_shows_where() -> None:
    done = act("raise KeyError('x')")
    assert done.returncode == 1
    assert done.stderr.startswith("proxyhash: unexpected KeyError: 'x'\n")
    assert "--debug" in done.stderr
    assert "Traceback" not in done.stderr
    done = act("raise KeyError('x')", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_system_errors_are_told_plainly() -> None:
    done = act("open('/nowhere/file')")
    assert done.returncode == 1
    assert "No such file or directory: '/nowhere/file'" in done.stderr
    assert "Traceback" not in done.stderr
    done = act("raise MemoryError")
    assert done.returncode == 1
    assert "out of memory" in done.stderr


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command.replace("proxyhash", str(PROXYHASH))],
        capture_output=True,
        env={**os.environ, **environment},
        encoding="utf-8",
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_said_with_the_next_step(unbuffered: str) -> None:
    done = shell("proxyhash --version >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert "Exception ignored" not in done.stderr
    assert "No space left on device; free some space and run the same command again" in done.stderr


def test_closed_standard_streams_are_no_surprise(tmp_path: Path) -> None:
    done = shell("proxyhash --version >&-")
    assert done.returncode == 1
    assert done.stderr.startswith("proxyhash: the system says: [Errno 9] standard output is closed")
    assert shell("proxyhash --version <&- 2>&-").stdout == f"proxyhash {__version__}\n"
    done = shell("proxyhash nope 2>&- >&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    # What is opened first would have the number of the closed stream, and get what is printed.
    first = shell(f"proxyhash data generate {tmp_path / 'data'} --items 3 --seed 1 >&- 2>&-")
    assert first.returncode in (0, 1)
    lines = (tmp_path / "data" / "items.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["000000", "000001", "000002"]


def test_arguments_that_are_not_unicode_are_named() -> None:
    for arguments in (b"search caf\xe9.index --text x", b"train data --out \xff"):
        done = subprocess.run(
            [bytes(PROXYHASH), *arguments.split()], capture_output=True, check=False
        )
        assert done.returncode == 2
        assert "is not UTF-8; rename the file" in done.stderr.decode()
        assert b"report" not in done.stderr


def test_a_system_that_is_not_set_to_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"id": "1", "image": "Café.jpg"}', encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell(f"proxyhash data check {tmp_path}", **ascii_only)
    assert done.returncode == 3
    assert "warning: names of files are read as ascii; for UTF-8, set PYTHONUTF8=1" in done.stderr
    assert "unexpected" not in done.stderr
    assert "Caf\\xe9.jpg" in done.stdout
    done = shell("proxyhash search none --text Café", **ascii_only)
    assert done.stderr.count("PYTHONUTF8=1") == 1
    assert "unexpected" not in done.stderr


def test_variables_that_libraries_refuse_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"")
    done = act("import numba", "--debug")
    assert done.returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", ACT.format(body="import numba"), "act"],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "0"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("proxyhash: NUMBA_NUM_THREADS is '0'; set it to a number")


READER = """
import proxyhash as ph
from proxyhash.data.readers import READERS

print("plug-in", *sorted(set(READERS)), file=__import__("sys").stderr)
"""


def test_a_plug_in_file_may_be_named_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(READER)
    for command in (
        f"proxyhash --plugin {path} data check nowhere",
        f"proxyhash data check nowhere --plugin {path}",
        f"proxyhash data check --plugin={path} nowhere --debug",
    ):
        done = shell(command)
        assert done.returncode == 3
        assert done.stderr.startswith("plug-in csv")
    assert "no such Python file" in shell(f"proxyhash doctor --plugin {tmp_path}/no.py").stderr
    assert "nowhere" in shell("proxyhash data check -- nowhere").stderr


def test_a_reader_that_goes_away_is_no_noise() -> None:
    body = "[console.out('line ' * 1000) for _ in range(1000)]"
    process = subprocess.Popen(
        [sys.executable, "-c", ACT.format(body=body), "act"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline().startswith("line")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_ctrl_c_is_130() -> None:
    body = "console.out('ready'); import time; time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", ACT.format(body=body), "act"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        said = "stopped by Ctrl-C; run the same command again: it goes on, or says how to"
        assert process.stderr.read() == f"proxyhash: {said}\n"
        assert process.wait(timeout=60) == 130


def test_ctrl_c_does_not_wait_for_threads_but_cleans_up() -> None:
    body = (
        "import atexit, threading, time; atexit.register(print, 'cleaned up'); "
        "threading.Thread(target=time.sleep, args=(60,)).start(); raise KeyboardInterrupt"
    )
    done = act(body, timeout=50)
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")


def test_text_that_the_terminal_cannot_show_is_no_failure(proxyhash_process) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ACT.format(body=r"console.out('Stra\xdfe \u72ac')"), "act"],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stdout) == (0, b"Stra\xdfe \\u72ac\n")


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch) -> None:
    body = "console.out(__import__('os').environ['OMP_WAIT_POLICY'])"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert act(body).stdout == "PASSIVE\n"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert act(body).stdout == "ACTIVE\n"


def test_the_command_is_installed() -> None:
    assert PROXYHASH.is_file()
