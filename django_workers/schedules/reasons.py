"""Why a schedule was switched off by the software rather than by a person.

What begins with one of these is switched on again once the cause is gone; what a
person has switched off never is.
"""

from typing import Final

# Code declared it once and does so no longer.
NOT_DECLARED: Final = "no longer declared in code"
# No worker knows its task.
UNKNOWN_TASK: Final = "unknown task"
# Its timing, its arguments or its queue are impossible.
CANNOT_FIRE: Final = "cannot fire"
# Its timing names no further moment.
ENDED: Final = "never fires again"
