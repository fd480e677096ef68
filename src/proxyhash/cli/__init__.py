"""The command line: arguments, progress and printing; the work is done elsewhere."""

from proxyhash.cli.app import main

__all__ = ["main"]
