"""Training methods, one per file: which proxies, losses and schedule make DCHML, PSLDH, DCMH.

A file here registers one `Objective`; another package names its module under the entry-point group
`proxyhash.methods`. The contract suite (tests/methods/test_contract.py) runs over every member.
"""

from proxyhash.methods.shared.batch import (
    BLOCK_ROWS,
    Batch,
    FeatureRows,
    Memory,
    Rows,
    row_blocks,
    sign,
)
from proxyhash.methods.shared.objective import (
    Context,
    MethodCard,
    Objective,
    Passes,
    alternating,
    joint,
)
from proxyhash.methods.shared.registry import (
    METHODS,
    get_method,
    make_objective,
    method_settings,
    register_method,
)
from proxyhash.methods.shared.settings import Settings, read_settings

__all__ = [
    "BLOCK_ROWS",
    "METHODS",
    "Batch",
    "Context",
    "FeatureRows",
    "Memory",
    "MethodCard",
    "Objective",
    "Passes",
    "Rows",
    "Settings",
    "alternating",
    "get_method",
    "joint",
    "make_objective",
    "method_settings",
    "read_settings",
    "register_method",
    "row_blocks",
    "sign",
]
