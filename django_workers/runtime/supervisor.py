"""The parent process of `runworkers` on one host: claims, hands out, completes, beats.

It runs no task and calls no user code. Four threads share the work, each with a
connection of its own: `claimer`, `completer`, `keeper` (heartbeat and chores) and the
`ear`. The main thread talks to the launcher. No thread ever ends because the database
is away: it waits and goes on.
"""

import logging
import os
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import connections

from ..brokers import UNROUTABLE, Broker, ClaimedJob, Lane, broker_for
from ..conf import RuntimeSettings
from ..models import OnCrash, SessionState
from . import database, processes, wakeup, wire
from .chores import Chores
from .completer import Completer
from .dispatcher import Dispatcher
from .lanes import Lanes
from .lease import Identity, SessionRow, Trust, mark_dead
from .link import ChildLink
from .wakeup import Ear
from .wire import ControlWire

logger = logging.getLogger("django_workers.worker")

EXIT_OK: Final = 0
# No child ever became ready.
EXIT_BOOT: Final = 3
# MAX_FAILURES consecutive jobs failed.
EXIT_FAILURES: Final = 4
# The database was away when the worker had to stop: jobs return by the lease.
EXIT_DATABASE: Final = 5
# Somebody found this worker dead: the launcher starts a new one.
EXIT_LEASE_LOST: Final = 75

# After a hint or a find, look again every few milliseconds for a short while: jobs
# announced together do not become visible together.
HOT_SECONDS: Final = 0.020
HOT_LOOK_SECONDS: Final = 0.002
DISCOVER_SECONDS: Final = 1.0
LOOK_AFTER_SECONDS: Final = 0.005
# How long a job that others can run makes this worker claim task by task.
FOREIGN_SECONDS: Final = 60.0
MOST_PAUSE_SECONDS: Final = 1.0
# How soon after a failed claim, and how often at least, claims are compared with what
# the database says.
FIRST_RECOUNT_SECONDS: Final = 1.0
MOST_RECOUNT_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0
# How long a child that is to be killed may send the signals about its last jobs.
LAST_WORDS_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """What a supervisor is told at its start."""

    using: str
    identity: Identity
    settings: RuntimeSettings
    # The sessions of this launcher's supervisors that have died, children included.
    predecessors: Sequence[UUID] = ()
    # How many children there will be.
    children: int = 1
    excluded_queues: Sequence[str] = ()
    burst: bool = False
    max_jobs: int = 0
    schedules: bool = True
    say: Callable[[str], None] = field(default=processes.say)


class Supervisor:
    """One host's hub. `run()` returns the exit code."""

    def __init__(self, control: socket.socket, options: SupervisorOptions) -> None:
        """Build everything; start and open nothing."""
        self._options = options
        self._settings = settings = options.settings
        self._control = ControlWire(control)
        database.prepare(options.using)
        self._broker: Broker = broker_for(options.using)
        Broker.writes_rollups = settings.metrics_enabled
        self._broker.durable_claims = settings.durable_claims
        self._lanes = Lanes(
            clock=time.monotonic,
            queues=settings.queues,
            excluded_queues=options.excluded_queues,
        )
        self._dispatcher = Dispatcher(
            worker_id=options.identity.worker_id,
            host=options.identity.host,
            batch_size=min(settings.batch_size, self._broker.batch_limit),
            max_crashes=settings.max_crashes,
            prefetch=settings.prefetch,
            rank_of=self._lanes.rank_of,
        )
        self._row = SessionRow(
            self._broker, options.identity, lease=settings.lock_duration
        )
        self._trust = Trust(settings.lock_duration)
        self._completer = Completer(
            self._broker,
            self._dispatcher,
            session=options.identity.session,
            max_failures=settings.max_failures,
            stop=self._stop_for_failures,
            tell=self._tell,
            expect=self._expect,
        )
        self._chores = Chores(
            self._broker,
            session=options.identity.session,
            settings=settings,
            tell=self._tell,
        )
        # Held from before a claim until its jobs are known to the dispatcher.
        self._claiming = threading.Lock()
        self._keeper_event = threading.Event()
        self._done = threading.Event()
        self._state = SessionState.STARTING
        self._stopping = False
        self._hurry = False
        self._exit_code = EXIT_OK
        self._registered = threading.Event()
        self._hellos: deque[dict[str, Any]] = deque()
        self._names: frozenset[str] = frozenset()
        self._foreign_until = 0.0
        self._recount_at = 0.0
        self._recount_pause = MOST_RECOUNT_SECONDS
        # Signals that no child could send yet.
        self._untold: deque[tuple[str, dict[str, Any]]] = deque(maxlen=1_000)
        self._hints: deque[str] = deque()
        self._hot: dict[Lane, float] = {}
        self._discovered_at = 0.0
        self._claimed = 0
        self._readers: dict[int, threading.Thread] = {}
        self._retired: dict[int, float] = {}
        self._announced = False
        self._drain_until = 0.0
        self._handed_back = 0
        self._idle_looks = 0
        self._beaten_at = 0.0
        self._policies: dict[str, Any] = {}
        self._stop_reason = ""
        self._give_up_at: float | None = None
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._failed_too_often = threading.Event()
        self._finished_burst = threading.Event()

    # The main thread

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        threads = [
            self._thread("claimer", self._claim_once),
            self._thread("completer", self._completer.run_once),
            self._thread("keeper", self._keep_once),
        ]
        ear = self._ear()
        while not self._done.is_set():
            ready, _, _ = select.select([self._control], [], [], 0.05)
            if ready and not self._listen_to_launcher():
                os._exit(EXIT_OK)  # the launcher is gone, and so are we
            self._mind_retired()
            if self._stopping:
                self._mind_drain()
        if ear is not None:
            ear.stop()
        self._completer.halt()
        until = time.monotonic() + (
            LAST_WORDS_SECONDS if self._exit_code == EXIT_DATABASE else CLOSE_SECONDS
        )
        for thread in threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        return self._exit_code

    def _ear(self) -> Ear | None:
        listener = self._settings.listener
        hears = self._broker.can_notify or self._broker.connection.vendor == "sqlite"
        if not hears or listener is False:
            return None
        ear = Ear(
            self._broker,
            self._hear,
            dsn=listener if isinstance(listener, str) else "",
        )
        ear.start()
        return ear

    def _thread(self, name: str, step: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(
            target=self._repeat, args=(name, step), name=name, daemon=True
        )
        thread.start()
        return thread

    def _repeat(self, name: str, step: Callable[[], None]) -> None:
        """Repeat a step until the end, whatever the database does meanwhile."""
        database.quiet_connection(self._options.using)
        pause, logged_at = 0.05, 0.0
        while not self._done.is_set():
            try:
                step()
                pause = 0.05
            except Exception as error:
                if time.monotonic() - logged_at > 10:
                    logged_at = time.monotonic()
                    logger.warning("%s: %s; going on", name, _shortly(error))
                    logger.debug("%s", name, exc_info=True)
                if name == "keeper":
                    self._trust.failed()
                _close(self._options.using)
                self._done.wait(pause * random.uniform(0.5, 1.5))
                pause = min(MOST_PAUSE_SECONDS, pause * 2)
        _close(self._options.using)

    def _listen_to_launcher(self) -> bool:
        frames = self._control.receive()
        if frames is None:
            return False
        for kind, payload, fds in frames:
            if kind == wire.CHILD:
                self._adopt(payload, fds)
            elif kind == wire.DIED:
                self._bury(*payload)
            elif kind == wire.DRAIN:
                self.drain(str(payload))
            elif kind == wire.HURRY:
                self._hurry = True
            elif kind == wire.BOOT:  # the launcher has given up starting children
                self._options.say(str(payload))
                self._exit_code = EXIT_BOOT
                self.drain("no child became ready")
        return True

    def _adopt(self, payload: tuple[int, int, int], fds: list[int]) -> None:
        index, pid, slots = payload
        link = ChildLink.adopt(
            index=index,
            pid=pid,
            slots=slots,
            sock=socket.socket(fileno=fds[0]),
            page_fd=fds[1],
        )
        os.close(fds[1])
        self._dispatcher.add(link)
        reader = threading.Thread(
            target=self._read_child, args=(link,), name=f"child-{pid}", daemon=True
        )
        self._readers[pid] = reader
        reader.start()

    def _read_child(self, link: ChildLink) -> None:
        while (frame := link.wire.receive()) is not None:
            kind, payload = frame
            if kind == wire.DONE:
                self._dispatcher.reported(link, payload)
            elif kind == wire.BOOT:
                self._hellos.append(payload)
                self._control.send(wire.READY, link.pid)
                self._dispatcher.hello(link)
                self._keeper_event.set()
            elif kind == wire.STUCK:
                self._dispatcher.stuck(link, payload)
                self._retire(link)

    def _retire(self, link: ChildLink) -> None:
        """Replace a child; it is killed once the rest of it has finished."""
        if link.retiring:
            return
        logger.warning(
            "A task in process %d ignores that it should stop: "
            "the process is replaced, and killed once it has nothing else to do",
            link.pid,
        )
        self._dispatcher.retire(link)
        self._retired[link.pid] = time.monotonic()
        self._control.send(wire.RETIRE, link.pid)

    def _mind_retired(self) -> None:
        now = time.monotonic()
        for link in self._dispatcher.links:
            since = self._retired.get(link.pid)
            if since is None or link.killed:
                continue
            quiet_since = max(since, link.reported_at)
            done = not link.held and now - quiet_since > LAST_WORDS_SECONDS
            if done or now - since > self._settings.shutdown_timeout:
                link.killed = True
                self._control.send(wire.KILL, link.pid)

    def _bury(self, pid: int, how: str) -> None:
        reader = self._readers.pop(pid, None)
        if reader is not None:
            reader.join(timeout=2.0)  # reads what the child still said
        for link in list(self._dispatcher.links):
            if link.pid == pid:
                if not link.killed and not self._stopping:
                    logger.error("Process %d %s", pid, how)
                self._dispatcher.lost_child(link, how=how)
        self._retired.pop(pid, None)

    # Stopping

    def drain(self, reason: str) -> None:
        """Take nothing more, finish what runs, then stop."""
        if self._stopping:
            return
        self._stopping = True
        self._state = SessionState.STOPPING
        self._stop_reason = reason
        self._drain_until = time.monotonic() + self._settings.shutdown_timeout
        self._handed_back = self._dispatcher.hand_back_all()
        for link in self._dispatcher.links:
            try:
                link.wire.send(wire.STOPPING, None)
            except OSError:
                continue
        running = self._dispatcher.running_count
        if running:
            self._options.say(
                f"Draining: waiting up to {self._settings.shutdown_timeout:g} s for "
                f"{running} running job{'s' if running != 1 else ''}. "
                "Ctrl+C again stops now."
            )
        self._keeper_event.set()
        self._dispatcher.room_event.set()

    def _mind_drain(self) -> None:
        """End the drain: cleanly, or by force once its time is up."""
        now = time.monotonic()
        # Not while a claim is under way: what it brings must go back first.
        idle = not self._claiming.locked()
        if idle and not self._dispatcher.held_count:
            self._finish()
        elif self._hurry or now > self._drain_until:
            # Whoever had all the time of the drain need not be asked again.
            away = self._completer.is_waiting and not self._hurry
            self._drain_until = now  # from here on only the database can hold us up
            for link in self._dispatcher.links:
                if not link.killed:
                    link.killed = True
                    self._handed_back += sum(
                        job.on_crash != OnCrash.FAIL for job in link.held.values()
                    )
                    self._control.send(wire.KILL, link.pid)
            self._hurry = False
            if self._give_up_at is None:
                self._give_up_at = now + (0.0 if away else CLOSE_SECONDS)
        if self._give_up_at is not None and now > self._give_up_at:
            self._exit_code = EXIT_DATABASE
            self._options.say(
                "The database did not answer: what could not be recorded runs again "
                "once this worker's lease has run out."
            )
            self._done.set()

    def _finish(self) -> None:
        """Nothing is held any more: give up the lease and end."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + CLOSE_SECONDS
        if self._registered.is_set() and not self._closed.is_set():
            self._closing.set()
            self._keeper_event.set()
            return
        self._options.say(
            f"Stopped: {self._completer.finished} finished, "
            f"{self._handed_back} handed back."
        )
        self._done.set()

    def _stop_for_failures(self) -> None:
        self._exit_code = EXIT_FAILURES
        self._options.say(
            f"{self._settings.max_failures} jobs in a row have failed: stopping."
        )
        self._failed_too_often.set()
        self._keeper_event.set()

    def _tell(self, name: str, **values: Any) -> None:
        """Have a signal sent: receivers are user code, so a child does it."""
        for link in self._dispatcher.links:
            if link.ready:
                try:
                    link.wire.send(wire.EVENT, (name, values))
                except OSError:
                    continue
                return
        self._untold.append((name, values))

    def _tell_the_untold(self) -> None:
        for _ in range(len(self._untold)):
            name, values = self._untold.popleft()
            self._tell(name, **values)

    @property
    def _who(self) -> dict[str, str]:
        identity = self._options.identity
        return {"session_id": str(identity.session), "worker_id": identity.worker_id}

    # The claimer

    def _claim_once(self) -> None:
        """One turn of the claiming loop."""
        try:
            self._claim_turn()
        except Exception:
            # What it asked for may have been committed, and the answer lost.
            self._recount_at, self._recount_pause = 0.0, FIRST_RECOUNT_SECONDS
            raise

    def _claim_turn(self) -> None:
        """Hand out, look after, claim, or wait."""
        dispatcher = self._dispatcher
        dispatcher.room_event.clear()
        dispatcher.hand_out()
        dispatcher.look_after()
        self._recount_if_due()
        self._take_hints()
        wanted = self._wanted()
        if wanted <= 0:
            if self._has_had_enough:
                self._keeper_event.set()
            busy = dispatcher.held_count
            dispatcher.room_event.wait(LOOK_AFTER_SECONDS if busy else 0.5)
            return
        self._discover_if_due()
        asked = self._lanes.in_claim_order()
        if not asked:
            self._when_idle()
            return
        with self._claiming:
            if self._stopping:
                return
            began = time.monotonic()
            claim = self._broker.claim(
                self._options.identity.session,
                worker=self._options.identity.worker_id,
                lanes=asked,
                limit=wanted,
            )
            self._lanes.claimed(
                asked, claim, limit=wanted, seconds=time.monotonic() - began
            )
            if claim.jobs:
                self._idle_looks = 0
                self._take(claim.jobs)
        if claim.jobs:
            dispatcher.hand_out()

    def _recount_if_due(self) -> None:
        """Take over what the database says is ours although we know nothing of it.

        The answer to a claim may be lost after its commit, even a while after: a
        server may go on with a statement whose client is gone.
        """
        now = time.monotonic()
        if now < self._recount_at or not self._registered.is_set() or not self._names:
            return
        with self._claiming:
            jobs = self._broker.forgotten(
                self._options.identity.session, known=self._dispatcher.known_ids()
            )
            if jobs:
                logger.warning("Took over %d jobs whose claim was lost", len(jobs))
                self._take(jobs)
        self._recount_at = now + self._recount_pause
        self._recount_pause = min(MOST_RECOUNT_SECONDS, self._recount_pause * 4)

    def _wanted(self) -> int:
        if (
            self._stopping
            or not self._registered.is_set()
            or not self._names
            or not self._trust.may_claim
            or self._state != SessionState.RUNNING
            or self._failed_too_often.is_set()
        ):
            return 0
        wanted = self._dispatcher.wanted()
        if self._options.max_jobs:
            wanted = min(wanted, self._options.max_jobs - self._claimed)
        return wanted

    def _take(self, jobs: list[ClaimedJob]) -> None:
        if self._stopping:  # told to stop while the claim was under way
            self._dispatcher.refuse(jobs, reason="")
            return
        known = [job for job in jobs if job.task in self._names]
        if len(known) < len(jobs):
            self._refuse(job for job in jobs if job.task not in self._names)
        if not known:
            return
        self._claimed += len(known)
        tried = [job.id for job in known if job.attempts or job.crashes]
        histories = self._broker.history(tried) if tried else {}
        self._dispatcher.take(known, histories)
        self._keep_hot({Lane(job.queue, job.priority) for job in known})

    def _refuse(self, jobs: Iterable[ClaimedJob]) -> None:
        """Leave jobs of unknown tasks to others, or park them where nobody is."""
        for job in jobs:
            if self._broker.known_elsewhere(job.task):
                self._foreign_until = time.monotonic() + FOREIGN_SECONDS
                self._lanes.forget()
                self._dispatcher.refuse([job], reason="")
            else:
                logger.warning("No living worker knows the task %r: parked", job.task)
                reason = f"{UNROUTABLE}: no living worker knows the task {job.task!r}"
                self._dispatcher.refuse([job], reason=reason)

    @property
    def _by_task(self) -> bool:
        return bool(self._settings.tasks) or time.monotonic() < self._foreign_until

    def _take_hints(self) -> None:
        returned = self._dispatcher.returned_lanes()
        if returned:
            if self._by_task:
                self._discovered_at = 0.0
            else:
                self._lanes.handed_back(returned)
                self._keep_hot(returned)
        now = time.monotonic()
        while self._hints:
            kind, _, rest = self._hints.popleft().partition(" ")
            if kind != wakeup.READY or not rest or self._by_task:
                self._discovered_at = 0.0
                continue
            priority, _, queue = rest.partition(" ")
            self._hot[Lane(queue, int(priority))] = now + HOT_SECONDS
        for lane, until in list(self._hot.items()):
            if until < now or self._by_task:
                del self._hot[lane]
            else:
                self._lanes.hear(lane)

    def _keep_hot(self, lanes: Iterable[Lane]) -> None:
        until = time.monotonic() + HOT_SECONDS
        self._hot.update(dict.fromkeys(lanes, until))

    def _discover_if_due(self) -> None:
        now = time.monotonic()
        if now - self._discovered_at < min(
            DISCOVER_SECONDS, self._settings.poll_interval
        ):
            return
        tasks = sorted(self._names) if self._by_task else None
        self._lanes.discovered(self._broker.lanes(tasks))
        self._discovered_at = now

    def _when_idle(self) -> None:
        """Nothing to claim: wait for a hint, for a moment while lanes are hot."""
        if self._hot:
            self._dispatcher.room_event.wait(HOT_LOOK_SECONDS)
            return
        if self._options.burst and self._chores.promoted_nothing:
            self._idle_looks += 1
            if self._idle_looks > 1 and not self._dispatcher.held_count:
                self._finished_burst.set()
                self._keeper_event.set()
            self._discovered_at = 0.0
            self._dispatcher.room_event.wait(0.02)
            return
        rest = self._discovered_at + self._settings.poll_interval - time.monotonic()
        self._dispatcher.room_event.wait(max(0.001, rest))

    def _hear(self, payload: str) -> None:
        """A hint from the ear's thread; an empty one: something may be missed."""
        kind, _, rest = payload.partition(" ")
        if kind == wakeup.AWAITED:
            self._completer.await_(rest)
        elif kind in (wakeup.DUE, wakeup.CONTROL, ""):
            self._keeper_event.set()
        if kind in (wakeup.READY, ""):
            self._hints.append(payload)
            self._dispatcher.room_event.set()

    # The keeper

    def _expect(self, seconds: float) -> None:
        """A job just scheduled is due soon: no hint says so of a worker's own."""
        if self._chores.expect(seconds):
            self._keeper_event.set()

    def _keep_once(self) -> None:
        """One turn of the keeper: register, beat, chores, then wait."""
        self._keeper_event.clear()
        if not self._registered.is_set():
            self._register()
        if self._closing.is_set():
            self._tell("worker_stopped", **self._who, reason=self._stop_reason)
            self._row.close(self._stop_reason)
            self._closed.set()
            self._done.wait()
            return
        self._beat_if_due()
        while self._hellos:
            self._greet(self._hellos[0])
            self._hellos.popleft()
        self._stop_if_finished()
        if not self._stopping:
            self._obey()
            moved = self._chores.run(self._trust, policies=self._policies)
            if moved:
                self._hints.append(wakeup.READY)
                self._dispatcher.room_event.set()
        self._keeper_event.wait(self._chores.pause(self._beat_rest()))

    def _register(self) -> None:
        sent_at = time.monotonic()
        self._row.open(slots=self._settings.slot_count, children=self._options.children)
        self._trust.renewed(sent_at, self._broker.now())
        self._beaten_at = sent_at
        if self._options.predecessors:
            # Their launcher has buried them: their jobs need not wait for a lease.
            mark_dead(
                self._broker, self._options.predecessors, reason="its process died"
            )
        self._registered.set()

    def _beat_rest(self) -> float:
        return max(
            0.0,
            self._beaten_at + self._settings.heartbeat_interval - time.monotonic(),
        )

    def _beat_if_due(self) -> None:
        if self._beat_rest() > 0:
            return
        sent_at = time.monotonic()
        if not self._row.beat(
            state=self._state.value,
            running=self._dispatcher.running_count,
            slots=self._dispatcher.slot_count,
            children=len(self._dispatcher.links),
        ):
            logger.error("Another worker found this one dead: starting afresh")
            self._exit_code = EXIT_LEASE_LOST
            self._done.set()
            return
        self._trust.renewed(sent_at, self._broker.now())
        self._beaten_at = sent_at

    def _greet(self, hello: dict[str, Any]) -> None:
        """A child says what it can run."""
        self._tell_the_untold()
        names = frozenset(hello["tasks"])
        self._policies = hello["policies"]
        if names == self._names and self._announced:
            return
        self._row.publish_tasks(sorted(names))
        self._broker.admit(sorted(names))
        if self._options.schedules:
            self._chores.declare(hello["schedules"], known=hello["policies"])
        self._names = names
        self._state = SessionState.RUNNING
        self._beaten_at = 0.0
        self._beat_if_due()
        if not self._announced:
            self._announced = True
            self._tell("worker_started", **self._who)
            self._options.say(self._banner(hello))
        self._hints.append("")
        self._dispatcher.room_event.set()

    def _banner(self, hello: dict[str, Any]) -> str:
        settings = self._settings
        queues = ", ".join(settings.queues) or "all"
        if self._options.excluded_queues:
            queues += f" except {', '.join(self._options.excluded_queues)}"
        schedules = self._chores.schedule_count() if self._options.schedules else 0
        listens = settings.listener is not False
        wakes = self._broker.wakes_by if listens else "polling"
        alias = connections[self._options.using]
        return "\n".join(
            (
                f"  database   {alias.vendor} ({alias.alias}), woken by {wakes}",
                f"  worker     {self._options.identity.worker_id}",
                f"  queues     {queues}",
                f"  children   {self._options.children}, {settings.slot_count} slots",
                f"  tasks      {len(hello['policies'])}",
                f"  schedules  {schedules}",
                "Ready. Ctrl+C drains, again to stop now.",
            )
        )

    def _obey(self) -> None:
        """Do what the database says: pauses and cancellations."""
        self._lanes.pause(self._chores.paused_queues())
        for request in self._broker.cancel_requests(self._options.identity.session):
            self._dispatcher.cancel(*request)

    def _stop_if_finished(self) -> None:
        if self._failed_too_often.is_set():
            self.drain("too many failures")
        elif self._finished_burst.is_set():
            self.drain("nothing left")
        elif self._has_had_enough:
            self.drain("maximum of jobs reached")

    @property
    def _has_had_enough(self) -> bool:
        """Whether the most jobs this worker may run have been run."""
        most = self._options.max_jobs
        return bool(most) and self._claimed >= most and not self._dispatcher.held_count


def _close(using: str) -> None:
    try:
        connections[using].close()
    except Exception:
        connections[using].connection = None


def _shortly(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
