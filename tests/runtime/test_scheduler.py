"""The chore that fires schedules: declare, fire, tell, and know when to look again."""

from datetime import timedelta
from typing import Any

import pytest

from django_workers import every, task
from django_workers.brokers import broker_for
from django_workers.models import Job, Schedule
from django_workers.runtime.chores import scheduler as room
from django_workers.runtime.chores.scheduler import Scheduler
from django_workers.schedules import NOT_DECLARED, declared_schedules, policies_of

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@task(name="scheduler:tick", schedule=every(60))
def tick() -> None:
    pass


POLICIES = policies_of([tick])


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def scheduler(told: list[dict[str, Any]]) -> Scheduler:
    def tell(signal: str, **values: Any) -> None:
        told.append({"signal": signal, **values})

    return Scheduler(broker_for("default"), tell)


def test_what_is_due_is_fired_and_told(
    scheduler: Scheduler, told: list[dict[str, Any]]
):
    scheduler.declare(declared_schedules([tick], {}), known=POLICIES)
    now = broker_for("default").now()
    Schedule.objects.update(anchor_at=now - MINUTE, next_fire_at=now)

    assert scheduler.count() == 1
    assert scheduler.fire(POLICIES) == 1

    job = Job.objects.get()
    assert job.slot is not None
    assert told == [
        {
            "signal": "schedule_fired",
            "schedule": "scheduler:tick",
            "job_id": str(job.id),
            "backend": "default",
            "slot": job.slot.timestamp(),
        }
    ]
    assert scheduler.next_due is not None
    assert 50 < scheduler.next_due <= 60


def make_due(count: int) -> None:
    now = broker_for("default").now()
    for number in range(count):
        Schedule.objects.create(
            name=f"s{number}",
            task="scheduler:tick",
            interval=60,
            anchor_at=now - MINUTE,
            next_fire_at=now,
        )


def test_all_that_is_due_fires_in_one_turn_if_time_allows(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "BATCH_SIZE", 2)
    scheduler.declare([], known=POLICIES)
    make_due(7)

    assert scheduler.fire(POLICIES) == 7
    assert scheduler.next_due is not None
    assert scheduler.next_due > 50


def test_a_flood_fires_bit_by_bit_and_loses_no_time(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "BATCH_SIZE", 2)
    monkeypatch.setattr(room, "MOST_SECONDS", 0.0)
    scheduler.declare([], known=POLICIES)
    make_due(5)

    assert scheduler.fire(POLICIES) == 2
    assert scheduler.next_due == 0
    assert [scheduler.fire(POLICIES) for _ in range(2)] == [2, 1]
    assert scheduler.next_due > 50


def test_nothing_fires_before_code_has_declared_its_schedules(scheduler: Scheduler):
    now = broker_for("default").now()
    Schedule.objects.create(
        name="x", task="scheduler:tick", interval=60, next_fire_at=now - MINUTE
    )

    assert scheduler.fire(POLICIES) == 0
    assert scheduler.next_due is None


def test_without_schedules_nothing_is_waited_for(scheduler: Scheduler):
    scheduler.declare([], known=POLICIES)

    assert scheduler.fire(POLICIES) == 0
    assert scheduler.next_due is None


def test_a_schedule_taken_out_of_the_code_stops_though_its_task_stays(
    scheduler: Scheduler,
):
    scheduler.declare(declared_schedules([tick], {}), known=POLICIES)

    scheduler.declare([], known=POLICIES)

    assert Schedule.objects.get().disabled_reason == NOT_DECLARED
