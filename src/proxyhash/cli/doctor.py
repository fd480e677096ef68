"""`proxyhash doctor`: check the installation."""

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, examples

__all__ = ["register"]

MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=examples("proxyhash doctor", "proxyhash doctor --json > doctor.json"))(
        doctor
    )


def doctor(as_json: JsonOption = False) -> None:
    """Check versions, devices, extras and the feature cache, and self-test codes and losses.

    Exit code 1 when something essential fails; a missing extra is only a warning.
    """
    from proxyhash.doctor import run_checks

    checks = run_checks(track=console.track)
    failed = [check.name for check in checks if check.status == "failed"]
    if as_json:
        console.emit_json({"ok": not failed, "checks": [check.to_dict() for check in checks]})
    else:
        console.table(
            ["check", "status", "found"],
            [[check.name, MARKS[check.status], check.detail] for check in checks],
        )
        for check in checks:
            if check.hint:
                console.out(f"{check.name}: {check.hint}")
        console.out(
            "\nNo problems found." if not failed else f"\nProblems found: {', '.join(failed)}"
        )
    if failed:
        raise typer.Exit(1)
