"""The broker: the only writer of a job's state.

Eight verbs, all plural:

- `enqueue` stores jobs in the caller's transaction;
- `claim` hands ready jobs to a session and raises their epoch;
- `succeed`, `retry`, `fail` and `release` end a claim: they are the kinds of `Ending`
  that `settle` writes, any mixture of them in one transaction;
- `cancel` ends waiting jobs and asks the holders of running ones to stop;
- `requeue` makes finished jobs ready again.

Every write about a running job carries its token ``(id, epoch, session)``. A token
that is no longer the row's is a normal answer: nothing is written, and the caller
learns it from what comes back. Chores move whole sets by what the rows say: `promote`,
`admit`, `rescue`, `prune`.

The verbs stand in rooms of their own (enqueue, claim, settle, people, chores), each of
which knows only the database; a rescue settles, and nothing else calls another room.
They work on every database through the ORM; the brokers of PostgreSQL and SQLite state
only their difference.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from .chores import ChoreVerbs
from .claim import ClaimVerb
from .enqueue import EnqueueVerb
from .people import PeopleVerbs
from .records import NewJob


class Broker(EnqueueVerb, ClaimVerb, PeopleVerbs, ChoreVerbs):
    """The broker every database understands: polling, one UPDATE per ending."""

    # Does a listener hear of new jobs without asking the database?
    can_notify: ClassVar[bool] = False
    # Does a claim tell which transactions it could not see?
    knows_snapshots: ClassVar[bool] = False
    # Most jobs one transaction of a worker may touch.
    batch_limit: ClassVar[int] = 1_000
    # What the banner says of how workers are woken.
    wakes_by: ClassVar[str] = "polling"

    def __init__(self, using: str) -> None:
        """Build a broker on the database alias `using`; opens nothing."""
        super().__init__(using)
        # Is a claim on disk before its jobs are handed out? Where it may be otherwise
        # (PostgreSQL), a server that crashes can forget claims: see claim() there.
        self.durable_claims = True

    def notify(self, channel: str, payloads: Iterable[str]) -> None:
        """Send hints to whoever listens; a database that cannot does nothing."""

    def enqueue_and_notify(
        self, jobs: Sequence[NewJob], channel: str, payloads: Sequence[str]
    ) -> datetime | None:
        """Store jobs and send hints behind their commit, in one round trip.

        None, and nothing done: it cannot be had here and now. See enqueue().
        """
        return None
