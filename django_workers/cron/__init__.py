"""When a schedule fires: cron expressions with a time zone, and fixed intervals.

Both kinds answer two questions, purely and in a bounded number of steps: the first slot
after an instant, and the latest one up to it. Instants are aware; answers are in UTC.
"""

from .slots import zone_named
from .timing import Cron, Every, cron, every

__all__ = ["Cron", "Every", "cron", "every", "zone_named"]
