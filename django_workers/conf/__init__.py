"""The settings: what may be set, what cannot work, and what a priority means."""

from .levels import LEVELS, level_of, priority_of
from .options import (
    BACKOFF_HINT,
    OptionMistake,
    Options,
    build_options,
    check_database,
    option_mistakes,
    queues_mistake,
)
from .queues import queue_refusal, unknown_queues
from .rules import (
    LARGEST_COUNT,
    LONGEST_RUN_SECONDS,
    QUEUE_PATTERN,
    backoff_problem,
)
from .runtime import (
    SETTING,
    RuntimeSettings,
    build_settings,
    problem_of,
    problems,
    runtime_settings,
)

__all__ = [
    "BACKOFF_HINT",
    "LARGEST_COUNT",
    "LEVELS",
    "LONGEST_RUN_SECONDS",
    "QUEUE_PATTERN",
    "SETTING",
    "OptionMistake",
    "Options",
    "RuntimeSettings",
    "backoff_problem",
    "build_options",
    "build_settings",
    "check_database",
    "level_of",
    "option_mistakes",
    "priority_of",
    "problem_of",
    "problems",
    "queue_refusal",
    "queues_mistake",
    "runtime_settings",
    "unknown_queues",
]
