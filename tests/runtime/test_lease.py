"""A worker's row, its lease, and what it may believe of others' silence."""

import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import transaction

from django_workers import control
from django_workers.brokers import broker_for
from django_workers.models import Queue, WorkerSession
from django_workers.runtime.chores.rescuer import Rescuer
from django_workers.runtime.lease import (
    MARGIN_SECONDS,
    Identity,
    SessionRow,
    Trust,
    mark_dead,
    mark_lost,
    paused_queues,
)

LEASE = 10.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def broker():
    return broker_for("default")


@pytest.fixture
def open_row(broker):
    """Return the open row of a worker, by its name."""

    def make(worker_id, *, lease=LEASE):
        identity = Identity(
            session=uuid.uuid4(), worker_id=worker_id, host="host", pid=1
        )
        row = SessionRow(broker, identity, lease=lease)
        row.open(slots=4, children=2)
        return row

    return make


def session_of(row):
    return WorkerSession.objects.get(id=row.identity.session)


def beat(row):
    return row.beat(state="running", running=3, slots=4, children=2)


def run_out(row):
    WorkerSession.objects.filter(id=row.identity.session).update(lease_until=LONG_AGO)


@pytest.mark.django_db
class TestRow:
    def test_a_beat_renews_the_lease_by_the_databases_clock(self, broker, open_row):
        row = open_row("one")
        run_out(row)

        assert beat(row)

        session = session_of(row)
        left = (session.lease_until - broker.now()).total_seconds()
        assert LEASE - 1 < left < LEASE + 0.01
        assert (session.state, session.running) == ("running", 3)

    def test_a_worker_found_dead_learns_it_from_its_next_beat(self, broker, open_row):
        row = open_row("one")
        run_out(row)
        assert mark_lost(broker) == [(row.identity.session, "one")]

        assert not beat(row)
        assert not row.close("drained")

        assert session_of(row).state == "lost"
        assert session_of(row).stop_reason == "its lease ran out"

    def test_a_worker_that_ends_gives_up_its_lease(self, broker, open_row):
        row = open_row("one")

        assert row.close("x" * 1_000)

        session = session_of(row)
        assert (session.state, session.running) == ("stopped", 0)
        assert session.stop_reason == "x" * 255
        assert not beat(row)
        assert mark_lost(broker) == []

    def test_it_may_be_opened_again_where_the_answer_was_lost(self, open_row):
        row = open_row("one")

        assert row.open(slots=9, children=2)

        assert session_of(row).slots == 9

    def test_it_is_not_opened_again_for_one_that_was_found_dead(self, broker, open_row):
        row = open_row("one")
        run_out(row)
        mark_lost(broker)

        assert not row.open(slots=4, children=2)

        assert session_of(row).state == "lost"

    def test_it_says_which_tasks_it_can_run(self, open_row):
        row = open_row("one")

        row.publish_tasks(["a.b", "c.d"])

        assert session_of(row).tasks == ["a.b", "c.d"]


@pytest.mark.django_db
class TestOthers:
    def test_only_those_whose_lease_ran_out_are_lost(self, broker, open_row):
        silent, _alive = open_row("silent"), open_row("alive")
        run_out(silent)

        assert mark_lost(broker) == [(silent.identity.session, "silent")]
        assert mark_lost(broker) == []

    def test_nobody_finds_itself_dead(self, broker, open_row):
        frozen = open_row("frozen")
        run_out(frozen)

        assert mark_lost(broker, by=frozen.identity.session) == []

        assert beat(frozen)

    def test_a_worker_that_was_frozen_while_it_looked_goes_on(self, broker, open_row):
        frozen, silent = open_row("frozen"), open_row("silent")
        run_out(frozen)
        run_out(silent)
        told = []
        rescuer = Rescuer(
            broker,
            session=frozen.identity.session,
            tell=lambda name, **values: told.append((name, values["worker_id"])),
        )

        rescuer.rescue(SimpleNamespace(may_rescue=True))

        assert told == [("worker_stopped", "silent")]
        assert session_of(frozen).state == "starting"

    def test_those_seen_to_die_need_no_lease_to_run_out(self, broker, open_row):
        seen, other = open_row("seen"), open_row("other")

        assert mark_dead(broker, [seen.identity.session], reason="it died") == 1

        assert (session_of(seen).state, session_of(other).state) == ("lost", "starting")
        assert mark_dead(broker, [seen.identity.session], reason="again") == 0


@pytest.mark.django_db
class TestPauses:
    def test_a_pause_ends_when_its_time_is_up(self, broker):
        control.pause("for-good", reason="broken", by="me")
        control.pause("for-now", until=broker.now() + timedelta(hours=1))
        control.pause("elapsed", until=broker.now() + timedelta(hours=1))
        Queue.objects.filter(name="elapsed").update(paused_until=LONG_AGO)

        with transaction.atomic():
            assert sorted(paused_queues(broker)) == ["for-good", "for-now"]

        assert not Queue.objects.get(name="elapsed").is_paused


class Watch:
    """A monotonic clock and the database's, both turned by hand."""

    def __init__(self):
        self.seconds = 1_000.0
        self.now = NOON

    def __call__(self):
        return self.seconds

    def turn(self, seconds, *, database=None):
        self.seconds += seconds
        self.now += timedelta(seconds=seconds if database is None else database)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def trust(watch):
    return Trust(LEASE, clock=watch)


def renew(trust, watch, times=1, *, every=2.0):
    for _ in range(times):
        trust.renewed(watch.seconds, watch.now)
        watch.turn(every)


class TestTrust:
    def test_nothing_may_be_claimed_before_the_first_beat(self, trust):
        assert not trust.may_claim
        assert not trust.may_rescue

    def test_a_lease_is_trusted_a_little_less_than_it_lasts(self, trust, watch):
        trust.renewed(watch.seconds, watch.now)

        watch.turn(LEASE - MARGIN_SECONDS - 0.01)
        assert trust.may_claim
        watch.turn(0.02)
        assert not trust.may_claim

    def test_others_are_judged_only_after_a_whole_lease_of_health(self, trust, watch):
        renew(trust, watch, 4)
        assert not trust.may_rescue
        renew(trust, watch, 2)
        assert trust.may_rescue

    def test_an_outage_starts_the_wait_afresh(self, trust, watch):
        renew(trust, watch, 10)
        trust.failed()
        assert not trust.may_rescue
        renew(trust, watch, 4)
        assert not trust.may_rescue
        renew(trust, watch, 2)
        assert trust.may_rescue

    @pytest.mark.parametrize("jump", [-3_600, 3_600])
    def test_so_does_a_jump_of_the_databases_clock(self, trust, watch, jump):
        renew(trust, watch, 10)
        watch.turn(2.0, database=jump)
        renew(trust, watch, 4)
        assert not trust.may_rescue
        renew(trust, watch, 2)
        assert trust.may_rescue

    def test_one_that_was_frozen_judges_nobody_before_it_has_beaten(self, trust, watch):
        renew(trust, watch, 10)
        watch.turn(60.0)
        assert not trust.may_rescue
        renew(trust, watch)
        assert trust.may_rescue
