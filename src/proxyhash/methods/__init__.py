"""Training objectives, one a file: which proxies, losses and schedule make DCHML, PSLDH, DCMH."""

from proxyhash.methods.registry import get_method, make_objective, methods, register_method
from proxyhash.methods.shared.objective import ALTERNATING, JOINT, Batch, Context, Memory, Objective
from proxyhash.methods.shared.settings import Settings

__all__ = [
    "ALTERNATING",
    "JOINT",
    "Batch",
    "Context",
    "Memory",
    "Objective",
    "Settings",
    "get_method",
    "make_objective",
    "methods",
    "register_method",
]
