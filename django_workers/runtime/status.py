"""What the threads of one supervisor tell each other."""

from dataclasses import dataclass, field
from threading import Event, Lock

from ..models import SessionState
from . import exits


@dataclass(slots=True)
class Status:
    """Where a supervisor stands, for all of its threads to see."""

    exit_code: int = exits.OK
    # The names its children can run, once `ready`; the keeper's. There may be none.
    names: frozenset[str] = frozenset()
    # Its row is written: it may hold jobs.
    registered: Event = field(default_factory=Event)
    # A child has said what it can run.
    ready: Event = field(default_factory=Event)
    # It takes nothing more.
    stopping: Event = field(default_factory=Event)
    # As many jobs in a row have failed as may.
    failed_too_often: Event = field(default_factory=Event)
    # It runs as a burst, and nothing is left.
    nothing_left: Event = field(default_factory=Event)
    # Its lease is to be given up, and has been.
    closing: Event = field(default_factory=Event)
    closed: Event = field(default_factory=Event)
    # Everything ends now.
    done: Event = field(default_factory=Event)
    # There is something for the keeper to do.
    keeper_event: Event = field(default_factory=Event)
    # Held from before a claim until its jobs are known to the dispatcher.
    claiming: Lock = field(default_factory=Lock)

    @property
    def state(self) -> str:
        """What its row says."""
        if self.stopping.is_set():
            return SessionState.STOPPING.value
        if self.ready.is_set():
            return SessionState.RUNNING.value
        return SessionState.STARTING.value
