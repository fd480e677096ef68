"""Suites that fill a table: methods x bits x seeds x data sets, one run folder a cell."""

from proxyhash.bench.cell import Cell, cells_of
from proxyhash.bench.run import Filled, fill_suite
from proxyhash.bench.suite import DataSet, Suite, Variant, read_suite

__all__ = [
    "Cell",
    "DataSet",
    "Filled",
    "Suite",
    "Variant",
    "cells_of",
    "fill_suite",
    "read_suite",
]
