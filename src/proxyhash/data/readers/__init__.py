"""Manifest readers, one format per file; a new file beside these is found automatically."""

from proxyhash.data.readers.base import READERS, Problem, Reader, Record, Records, register_reader

__all__ = ["READERS", "Problem", "Reader", "Record", "Records", "register_reader"]
