"""Suites that fill a table: methods x bits x seeds x data sets, one run folder a cell."""

from proxyhash.bench.cell import Cell, cells_of, encoder_cells, yardstick_cells
from proxyhash.bench.run import Filled, fill_suite
from proxyhash.bench.suite import DataSet, SharedEncoders, Suite, Variant, Yardsticks, read_suite

__all__ = [
    "Cell",
    "DataSet",
    "Filled",
    "SharedEncoders",
    "Suite",
    "Variant",
    "Yardsticks",
    "cells_of",
    "encoder_cells",
    "fill_suite",
    "read_suite",
    "yardstick_cells",
]
