"""Where enqueueing enters: the backends that `TASKS` names."""

from ..conf import Options
from ..task import get_task as find_task
from .database import DatabaseBackend
from .effective import Effective, effective
from .preparing import Prepared
from .rebuilding import rebuilt_task
from .signature import signature_of
from .twins import DummyBackend, ImmediateBackend

__all__ = [
    "DatabaseBackend",
    "DummyBackend",
    "Effective",
    "ImmediateBackend",
    "Options",
    "Prepared",
    "effective",
    "find_task",
    "rebuilt_task",
    "signature_of",
]
