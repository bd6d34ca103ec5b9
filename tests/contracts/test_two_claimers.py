"""Several claimers at once: no job is ever shared, and none is lost."""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Barrier
from uuid import uuid4

import pytest
from django.db import connection, transaction

from django_workers.brokers import Broker, Lane
from django_workers.models import Attempt, Job, Rollup, SessionState
from tests.contracts.claimer import work
from tests.contracts.jobs import (
    as_uuids,
    claim,
    claim_one,
    open_session,
    release,
    row,
    store,
    succeed,
)
from tests.support import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


def in_threads(*works):
    """Run functions at the same time, each in a thread with its own connection."""
    barrier = Barrier(len(works), timeout=10)

    def run(work):
        try:
            barrier.wait()
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(run, w) for w in works]]


def check_claims(claims, *, jobs):
    """Every (job, epoch) belongs to one claim, and every job has ended."""
    counts = Counter(tuple(pair) for pair in claims)
    assert max(counts.values()) == 1
    assert {job_id for job_id, _epoch in counts} == set(jobs)
    assert set(Job.objects.values_list("status", flat=True)) == {"successful"}
    epochs = {str(job.id): job.epoch for job in Job.objects.all()}
    assert epochs == {i: max(e for j, e in counts if j == i) for i in jobs}
    ended = Rollup.objects.filter(outcome="successful").values_list("count", flat=True)
    assert sum(ended) == len(jobs)
    retried = [e for _j, e in counts if e > 1]
    assert Attempt.objects.filter(outcome="failed").count() <= len(retried)


def test_two_claimers_never_share_a_job(broker):
    jobs = store(broker, 200) + store(broker, 100, priority=9)

    claims = in_threads(*[lambda: work(broker, session=uuid4())] * 4)

    check_claims([*chain(*claims)], jobs=jobs)


def test_two_processes_never_share_a_job(broker, database_url):
    jobs = store(broker, 300)
    kind = "generic" if type(broker) is Broker else "own"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }

    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.contracts.claimer", kind],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]

    claims = []
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        claims += json.loads(output)
    check_claims(claims, jobs=jobs)


def test_jobs_stored_while_others_claim_are_all_found(broker):
    stored = []

    def enqueue():
        for _ in range(40):
            stored.extend(store(broker, 3))
        return []

    def work_until_done():
        claims = []
        while len(stored) < 120 or Job.objects.unfinished().exists():
            claims += work(broker, session=uuid4())
        return claims

    claims = in_threads(enqueue, work_until_done, work_until_done)

    check_claims([*chain(*claims)], jobs=stored)


def test_a_job_another_transaction_holds_is_passed_over(broker):
    if not connection.features.has_select_for_update_skip_locked:
        return  # one writer at a time: the next claim waits
    held, free = store(broker, 2)

    with transaction.atomic():
        Job.objects.select_for_update().get(id=held)
        (found,) = in_threads(lambda: claim(broker, lanes=[(Lane("default", 0), 0)]))

    assert [job.id for job in found] == [free]
    assert [job.id for job in claim(broker)] == [held]


def test_a_cancellation_and_a_claim_at_once_end_in_one_of_two_ways(broker):
    for _ in range(15):
        (job_id,) = store(broker)
        session = uuid4()

        found, answer = in_threads(
            lambda session=session: claim(
                broker, session=session, lanes=[(Lane("default", 0), 0)]
            ),
            lambda job_id=job_id: broker.cancel(as_uuids([job_id])),
        )

        (said,) = answer.values()
        if said == "cancelled":
            assert found == []
            assert row(job_id).status == "cancelled"
        else:
            assert said == "requested"
            assert [job.id for job in found] == [job_id]
            assert broker.settle(session, [release(found[0])]) == {job_id: "cancelled"}


def test_a_cancellation_and_an_end_at_once_agree(broker):
    for _ in range(15):
        session = uuid4()
        job = claim_one(broker, session)

        written, answer = in_threads(
            lambda job=job, session=session: broker.settle(session, [succeed(job)]),
            lambda job=job: broker.cancel(as_uuids([job.id])),
        )

        assert written == {job.id: "successful"}
        assert set(answer.values()) <= {"requested", "finished first"}
        assert row(job.id).status == "successful"


def test_two_rescuers_charge_a_job_once(broker):
    session = open_session(state=SessionState.LOST)
    store(broker, 60)
    claim(broker, session=session)

    rescued = in_threads(*[lambda: broker.rescue(limit=25)] * 5)

    while more := broker.rescue():
        rescued.append(more)
    ids = [item.job_id for one in rescued for item in one]
    assert len(ids) == len(set(ids)) == 60
    assert set(Job.objects.values_list("interruptions", flat=True)) == {1}
    assert Attempt.objects.count() == 60


def test_a_rescue_and_an_end_at_once_end_in_one_of_two_ways(broker):
    for _ in range(10):
        session = open_session(state=SessionState.LOST)
        job = claim_one(broker, session)

        written, rescued = in_threads(
            lambda job=job, session=session: broker.settle(session, [succeed(job)]),
            lambda: broker.rescue(),
        )

        assert bool(written) != bool(rescued)
        assert row(job.id).status == ("successful" if written else "ready")
        Job.objects.all().delete()


def test_two_promoters_promote_each_job_once(broker):
    store(broker, 50, run_after=broker.now())

    promotions = in_threads(*[lambda: broker.promote(limit=20)] * 3)

    counts = [promotion.count for promotion in promotions]
    while more := broker.promote().count:
        counts.append(more)
    assert sum(counts) == 50
    positions = list(Job.objects.ready().values_list("position", flat=True))
    assert len(positions) == 50


def test_two_requeues_at_once_retry_a_job_once(broker):
    session = uuid4()
    store(broker, 20)
    jobs = claim(broker, session=session)
    for job in jobs:
        broker.cancel(as_uuids([job.id]))
    broker.settle(session, [release(job) for job in jobs])
    ids = as_uuids([job.id for job in jobs])

    answers = in_threads(
        lambda: broker.requeue(ids), lambda: broker.requeue(list(reversed(ids)))
    )

    for job_id in ids:
        assert sorted(answer[job_id] for answer in answers) == [
            "not finished",
            "retried",
        ]


def test_batches_that_overlap_do_not_deadlock(broker):
    session = uuid4()
    store(broker, 200)
    jobs = claim(broker, session=session)

    written = in_threads(
        lambda: broker.settle(session, [succeed(job) for job in jobs]),
        lambda: broker.settle(session, [succeed(job) for job in reversed(jobs)]),
        lambda: broker.cancel(as_uuids([job.id for job in reversed(jobs)])),
    )

    assert len(written[0]) + len(written[1]) == 200
    assert sum(Rollup.objects.values_list("count", flat=True)) == 200
