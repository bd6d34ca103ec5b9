"""The small repeated duties of a supervisor.

Each is safe to run on all hosts at once.
"""

from .timetable import Chores

__all__ = ["Chores"]
