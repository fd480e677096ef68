"""Where results, notes, errors and progress go, and what they look like there."""

from __future__ import annotations

import json
import logging
import re
from threading import Event
from typing import TYPE_CHECKING

import pytest

from proxyhash.cli import app, console
from proxyhash.cli.console import progress_line

if TYPE_CHECKING:
    from proxyhash.progress import Track


class Clock:
    """A clock that moves by `step` seconds at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Progress lines that begin anew, by a clock that moves by a second at each look."""
    clock = Clock(1.0)
    monkeypatch.setattr(console, "_lines", console._Lines())
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both captured streams claim to be a terminal of 80 columns."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys) -> None:
    console.out("result")
    console.note("note")
    console.error("fault")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "note\nproxyhash: fault\n"


def test_no_control_character_of_a_name_reaches_the_terminal(capsys) -> None:
    name = "".join(map(chr, (*range(10), *range(11, 32), *range(127, 160), 0x202E, 0x2066)))
    console.note(f"class {name}\nnext")
    console.error(f"class {name}\nnext")
    shown = capsys.readouterr().err
    assert shown.count("\n") == 4
    assert not set(shown) & set(name)


def test_a_muted_process_prints_errors_alone(capsys, monkeypatch) -> None:
    monkeypatch.setattr(console, "_muted", False)  # and so it is again after this test
    console.mute()
    console.note("a note")
    console.out("a result")
    console.next_steps("proxyhash serve")
    assert list(console.track([1, 2], "work")) == [1, 2]
    console.error("bad row")
    assert capsys.readouterr() == ("", "proxyhash: bad row\n")


def test_json_is_strict_and_readable(capsys) -> None:
    console.emit_json({"text": "Straße 犬", "map": 0.5})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"text": "Straße 犬", "map": 0.5}
    assert "Straße 犬" in printed
    with pytest.raises(ValueError, match="JSON"):
        console.emit_json({"map": float("nan")})


def test_table_in_a_pipe_is_never_cut(capsys) -> None:
    long = "word " * 60
    console.table(["id", "distance", "text"], [["a", 3, long], ["b", 12, "[red]x[/red]"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert long.strip() in lines[2]
    assert "[red]x[/red]" in lines[3]


def test_table_aligns_numbers_to_the_right(capsys) -> None:
    console.table(["id", "n"], [["a", 3], ["b", 12]], right=["n"], title="Counts")
    title, _heading, _rule, first, second = capsys.readouterr().out.splitlines()
    assert title == "Counts"
    assert first.endswith(" 3")
    assert second.endswith("12")


def test_table_on_a_terminal_wraps_to_its_width(capsys, monkeypatch) -> None:
    on_a_terminal(monkeypatch)
    console.table(["id", "text"], [["a", "word " * 60]])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, plain.splitlines())) <= 80
    assert plain.count("word") == 60


def test_escape_sequences_in_data_do_not_reach_the_terminal(capsys) -> None:
    console.table(["text"], [["\x1b[31mred\x07\nline"]])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert console.printable("a\x1b[0mb\u202ec\n") == "a [0mb c "


def test_track_yields_the_steps_unchanged(capsys) -> None:
    track: Track = console.track
    assert list(track(range(5), "count")) == [0, 1, 2, 3, 4]
    assert list(track(iter("ab"), "count")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")  # short work says nothing


@pytest.mark.usefixtures("clock")
def test_track_prints_a_plain_line_within_a_second_and_then_every_few(capsys) -> None:
    list(console.track(range(11), "encode images"))
    assert capsys.readouterr().err.splitlines() == [
        "encode images 1/11 (9%), 10 s left",
        "encode images 4/11 (36%), 7 s left",
        "encode images 7/11 (64%), 4 s left",
        "encode images 10/11 (91%), 1 s left",
        "encode images 11/11 (100%), 11 s",
    ]


def test_track_prints_lines_while_one_step_takes_long(capsys, monkeypatch) -> None:
    """A minute of silence looks like a hang, whatever the steps are."""
    monkeypatch.setattr(console, "_lines", console._Lines())
    monkeypatch.setattr(console, "FIRST_SECONDS", 0.02)
    printed = Event()
    monkeypatch.setattr(console, "note", lambda text: (lines.append(text), printed.set()))
    lines: list[str] = []
    for _ in console.track([1, 2], "codebook"):
        assert printed.wait(5)
    assert lines[0] == "codebook 0/2 (0%), 0 s"


@pytest.mark.usefixtures("clock")
def test_a_series_of_loops_prints_no_more_lines_than_one_loop(capsys) -> None:
    for _ in range(5):
        list(console.track([1], "sweep"))
    assert len(capsys.readouterr().err.splitlines()) == 3  # in 10 seconds


@pytest.mark.usefixtures("clock")
def test_nested_lines_take_turns(capsys) -> None:
    for _ in console.track([1, 2], "epochs"):
        list(console.track(range(3), "steps"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "steps 1/3 (33%), 2 s left"
    assert lines[-1].startswith("epochs 2/2 (100%)")
    assert len(lines) == 4  # in 10 seconds


def test_a_broken_off_loop_does_not_count_as_nesting(capsys, clock) -> None:
    for _ in console.track([1, 2, 3], "broken off"):
        break
    clock.step = 2.0
    list(console.track([1, 2], "next"))
    assert capsys.readouterr().err.splitlines()[-1] == "next 2/2 (100%), 4 s"


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (1200, 7957, 3.9, "encode 1,200/7,957 (15%), 22 s left"),
        (7957, 7957, 26.2, "encode 7,957/7,957 (100%), 26 s"),
        (0, 3, 1.0, "encode 0/3 (0%), 1 s"),
        (1200, None, 4.0, "encode 1,200, 4 s"),
        (3, 0, 1.0, "encode 3, 1 s"),
    ],
)
def test_progress_line(done, total, seconds, line) -> None:
    assert progress_line("encode", done, total, seconds=seconds) == line


def test_track_draws_nested_bars_on_a_terminal(capsys, monkeypatch) -> None:
    on_a_terminal(monkeypatch)
    for _ in console.track([1, 2], "outer"):
        for _ in console.track([1, 2, 3], "inner [b]"):
            console.note("a [note]")
    err = capsys.readouterr().err
    for part in ("outer", "inner [b]", "a [note]", "0/3"):
        assert part in err
    assert err.rindex("\x1b[?25h") > err.rindex("\x1b[?25l")  # the cursor is back
    console.note("after")
    assert capsys.readouterr().err == "after\n"


def test_an_error_takes_the_bars_down(capsys, monkeypatch) -> None:
    on_a_terminal(monkeypatch)
    steps = console.track([1, 2], "outer")
    next(steps)
    console.error("fault")
    assert "\x1b[?25h" in capsys.readouterr().err
    assert list(steps) == [2]
    assert capsys.readouterr().err == ""


def test_package_warnings_become_notes_and_others_stay_silent(capsys, monkeypatch) -> None:
    monkeypatch.delenv("PROXYHASH_DEBUG", raising=False)
    app.quieten()
    logging.getLogger("proxyhash.data").warning("3 images were skipped")
    logging.getLogger("proxyhash.data").info("detail")
    assert capsys.readouterr() == ("", "3 images were skipped\n")


def test_debug_shows_details(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PROXYHASH_DEBUG", "1")
    app.quieten()
    logging.getLogger("proxyhash.data").debug("detail")
    assert capsys.readouterr().err == "detail\n"


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_debugging_follows_the_variable(monkeypatch, value, expected) -> None:
    monkeypatch.setenv("PROXYHASH_DEBUG", value)
    assert app.debugging() is expected
