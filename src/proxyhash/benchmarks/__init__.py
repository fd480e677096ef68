"""Suites that fill a table: methods x bits x seeds x data sets, one run folder a cell."""

from proxyhash.benchmarks.cell import Cell, cells_of
from proxyhash.benchmarks.run import Filled, fill_suite
from proxyhash.benchmarks.suite import DataSet, Suite, Variant, read_suite

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
