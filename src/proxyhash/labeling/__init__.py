"""Classes found in a collection without labels: from its texts, its images, or given names."""

from __future__ import annotations

from proxyhash.labeling.edits import Edits, read_edits
from proxyhash.labeling.find import Inputs, find_classes
from proxyhash.labeling.found import FoundClass, FoundClasses
from proxyhash.labeling.names import ClassName, read_names
from proxyhash.labeling.write import write_labels

__all__ = [
    "ClassName",
    "Edits",
    "FoundClass",
    "FoundClasses",
    "Inputs",
    "find_classes",
    "read_edits",
    "read_names",
    "write_labels",
]
