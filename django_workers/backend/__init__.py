"""Where enqueueing enters: the backends that `TASKS` names."""

from ..conf import Options
from ..task import get_task as find_task
from .database import DatabaseBackend
from .preparing import Prepared
from .rebuilding import rebuilt_task
from .twins import DummyBackend, ImmediateBackend

__all__ = [
    "DatabaseBackend",
    "DummyBackend",
    "ImmediateBackend",
    "Options",
    "Prepared",
    "find_task",
    "rebuilt_task",
]
