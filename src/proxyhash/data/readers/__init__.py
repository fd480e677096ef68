"""The manifest readers of this package; importing it registers them."""

from proxyhash.data.readers import csv_table, imagefolder, jsonl, parquet

__all__ = ["csv_table", "imagefolder", "jsonl", "parquet"]
