"""Chores take a bounded time: the keeper must beat in between."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from django_workers.brokers import broker_for
from django_workers.conf import build_settings
from django_workers.models import FINISHED, Job, Rollup
from django_workers.runtime.chores import (
    Chores,
    promoter,
    pruner,
    rescuer,
    timetable,
)
from django_workers.runtime.chores.promoter import Promoter
from django_workers.runtime.chores.pruner import Pruner
from django_workers.runtime.chores.rescuer import Rescuer
from tests.contracts.jobs import (
    PAST,
    TASK,
    cancel,
    claim,
    claim_one,
    open_session,
    park,
    row,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def broker():
    return broker_for("default")


@pytest.fixture
def slowly(monkeypatch):
    """Let each look at the clock of a chore take so many seconds, and batches be 5."""

    def slow(room, seconds):
        now = [0.0]

        def monotonic():
            now[0] += seconds
            return now[0]

        monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=monotonic))
        monkeypatch.setattr(room, "BATCH_SIZE", 5)

    return slow


def end(broker, count, ending, *, finished_at=LONG_AGO):
    store(broker, count)
    session = open_session()
    jobs = claim(broker, session=session)
    broker.settle(session, [ending(job) for job in jobs])
    ids = [job.id for job in jobs]
    Job.objects.filter(id__in=ids).update(finished_at=finished_at)


class TestPromoter:
    def test_what_is_due_is_promoted_at_once_if_time_allows(self, broker, slowly):
        slowly(promoter, 0.001)
        store(broker, 12, run_after=PAST)

        assert Promoter(broker).promote() == 12

    def test_a_flood_is_promoted_bit_by_bit(self, broker, slowly):
        slowly(promoter, promoter.MOST_SECONDS)
        store(broker, 12, run_after=PAST)
        chore = Promoter(broker)

        assert chore.promote() == 5
        assert chore.next_due == 0
        assert not chore.idle
        assert [chore.promote() for _ in range(3)] == [5, 2, 0]
        assert chore.next_due is None
        assert chore.idle


class TestRescuer:
    @pytest.fixture
    def chore(self, broker):
        return Rescuer(broker, session=uuid4(), tell=lambda name, **values: None)

    def test_a_flood_is_rescued_bit_by_bit(self, broker, chore, slowly):
        slowly(rescuer, rescuer.MOST_SECONDS)
        store(broker, 12)
        claim(broker, session=uuid4())
        judging = SimpleNamespace(may_rescue=False)

        assert chore.rescue(judging) == (5, True)
        assert chore.rescue(judging) == (5, True)
        assert chore.rescue(judging) == (2, False)
        assert Job.objects.ready().count() == 12


class TestPruner:
    @pytest.fixture
    def chore(self, broker):
        return Pruner(broker, build_settings({}))

    def test_a_flood_of_one_status_keeps_no_other(self, broker, chore, slowly):
        slowly(pruner, pruner.MOST_SECONDS / 4)
        end(broker, 40, succeed)
        end(broker, 3, cancel)

        looks = 0
        while chore.prune():
            looks += 1
            if looks == 2:
                assert not Job.objects.filter(status="cancelled").exists()
                assert Job.objects.filter(status="successful").exists()

        assert looks > 2
        assert not Job.objects.filter(status__in=FINISHED).exists()

    def test_what_is_not_old_enough_stays(self, broker, chore):
        end(broker, 3, succeed, finished_at=datetime.now(UTC))

        assert not chore.prune()

        assert Job.objects.count() == 3

    def test_old_figures_go_in_bits_too(self, broker, chore, monkeypatch):
        monkeypatch.setattr(pruner, "FIGURES_AT_ONCE", 5)
        Rollup.objects.bulk_create(
            Rollup(minute=LONG_AGO + timedelta(minutes=n), worker="w", queue="q")
            for n in range(7)
        )

        assert chore.prune()
        assert not chore.prune()
        assert not Rollup.objects.exists()


class TestChores:
    @pytest.fixture
    def chores(self, broker):
        return Chores(
            broker,
            session=uuid4(),
            settings=build_settings({}),
            tell=lambda name, **values: None,
        )

    def run(self, chores):
        trust = SimpleNamespace(may_rescue=False)
        return chores.run(trust, policies={}, names={TASK})

    def test_the_keeper_comes_back_at_once_while_much_is_due(
        self, broker, chores, slowly
    ):
        slowly(promoter, promoter.MOST_SECONDS)
        store(broker, 6, run_after=PAST)

        assert self.run(chores)
        assert chores.pause(10.0) < 0.01
        assert self.run(chores)
        assert not self.run(chores)
        assert chores.pause(10.0) > 0.01

    def test_a_job_that_was_parked_a_moment_too_late_is_admitted(
        self, broker, chores, monkeypatch
    ):
        now = timetable.time.monotonic()
        clock = SimpleNamespace(monotonic=lambda: now)
        monkeypatch.setattr(timetable, "time", clock)
        assert not self.run(chores)
        session = uuid4()
        job = claim_one(broker, session)
        broker.release(session, [park(job)])

        now += 2 * timetable.ADMIT_SECONDS

        assert self.run(chores)
        assert row(job.id).status == "ready"

    def test_the_keeper_comes_back_at_once_while_many_are_to_be_rescued(
        self, broker, chores, slowly
    ):
        slowly(rescuer, rescuer.MOST_SECONDS)
        store(broker, 6)
        claim(broker, session=uuid4())

        assert self.run(chores)
        assert chores.pause(10.0) < 0.01
        assert self.run(chores)
        assert not Job.objects.running().exists()
