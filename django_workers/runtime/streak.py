"""Deaths in a row, and how long to wait before the next start."""

from dataclasses import dataclass
from typing import Final

# A process that has lived for so long was healthy: its death is no streak.
HEALTHY_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.2
MOST_PAUSE_SECONDS: Final = 30.0


@dataclass(slots=True)
class Streak:
    """Deaths in a row, and when the next start may be tried."""

    deaths: int = 0
    not_before: float = 0.0

    def died(self, *, lived: float, now: float) -> None:
        """Count a death; one after a healthy life starts a new streak."""
        self.deaths = 1 if lived >= HEALTHY_SECONDS else self.deaths + 1
        pause = FIRST_PAUSE_SECONDS * 2 ** min(10, self.deaths - 1)
        # The first death costs no time: its jobs wait.
        pause = 0.0 if self.deaths == 1 else min(MOST_PAUSE_SECONDS, pause)
        self.not_before = now + pause
