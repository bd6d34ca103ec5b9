"""Tasks that run by the clock: what code declares, and what is due."""

from .declarations import (
    Synced,
    declaration_from,
    declared_schedules,
    policies_of,
    sync_declared,
)
from .firing import Fired, fire_due, run_now, seconds_until_next
from .reasons import CANNOT_FIRE, ENDED, NOT_DECLARED, UNKNOWN_TASK
from .slots import next_fires, plan

__all__ = [
    "CANNOT_FIRE",
    "ENDED",
    "NOT_DECLARED",
    "UNKNOWN_TASK",
    "Fired",
    "Synced",
    "declaration_from",
    "declared_schedules",
    "fire_due",
    "next_fires",
    "plan",
    "policies_of",
    "run_now",
    "seconds_until_next",
    "sync_declared",
]
