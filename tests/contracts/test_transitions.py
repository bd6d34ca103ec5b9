"""The table of legal transitions against what the verbs really do."""

import pytest

from django_workers.models import FINISHED, TRANSITIONS, Job, JobStatus, WorkerSession
from tests.contracts.jobs import (
    ENDINGS,
    FAR,
    PAST,
    as_uuids,
    claim,
    claim_one,
    fail,
    open_session,
    release,
    rolled_back,
    row,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db

# Legal for the admission of jobs with limits, which no verb does yet.
FOR_LIMITS = {
    (JobStatus.SCHEDULED, JobStatus.BLOCKED),
    (JobStatus.BLOCKED, JobStatus.SCHEDULED),
    (JobStatus.READY, JobStatus.BLOCKED),
}


class Stage:
    """One job brought into a status, with the claim it was last held by."""

    def __init__(self, broker, status, *, on_crash="retry"):
        self.broker = broker
        self.session = open_session()
        self.job = claim_one(
            broker, self.session, on_crash=on_crash, run_after=None, max_attempts=9
        )
        end = {
            JobStatus.READY: release,
            JobStatus.SCHEDULED: ENDINGS["retry later"],
            JobStatus.BLOCKED: ENDINGS["park"],
            JobStatus.SUCCESSFUL: succeed,
            JobStatus.FAILED: fail,
            JobStatus.CANCELLED: ENDINGS["cancel"],
        }.get(status)
        if end:
            broker.settle(self.session, [end(self.job)])
        # Due, if it is scheduled; and old enough for whatever counts age.
        Job.objects.filter(status="scheduled").update(run_after=PAST)
        Job.objects.exclude(finished_at=None).update(finished_at=PAST)

    @property
    def status(self):
        return JobStatus(row(self.job.id).status)

    @property
    def ids(self):
        return as_uuids([self.job.id])

    def lose_session(self):
        WorkerSession.objects.filter(id=self.session).update(state="lost")


def _settle(kind):
    def verb(stage):
        stage.broker.settle(stage.session, [ENDINGS[kind](stage.job)])

    return verb


def _settle_cancelled(kind):
    def verb(stage):
        Job.objects.filter(id=stage.job.id, status="running").update(
            cancel_requested_at=PAST
        )
        stage.broker.settle(stage.session, [ENDINGS[kind](stage.job)])

    return verb


def _rescue(stage):
    stage.lose_session()
    stage.broker.rescue()


VERBS = {
    "enqueue": lambda stage: store(stage.broker),
    "claim": lambda stage: claim(stage.broker, session=stage.session),
    "cancel": lambda stage: stage.broker.cancel(stage.ids),
    "requeue": lambda stage: stage.broker.requeue(stage.ids),
    "requeue anew": lambda stage: stage.broker.requeue(stage.ids, reset_attempts=True),
    "hasten": lambda stage: stage.broker.hasten(stage.ids),
    "postpone": lambda stage: stage.broker.postpone(stage.ids, FAR),
    "promote": lambda stage: stage.broker.promote(),
    "admit": lambda stage: stage.broker.admit([stage.job.task]),
    "rescue": _rescue,
    **{f"settle: {kind}": _settle(kind) for kind in ENDINGS},
    **{f"settle: {kind}, cancelled": _settle_cancelled(kind) for kind in ENDINGS},
}


def moves(broker, verb, status, *, on_crash="retry"):
    """Return what a verb makes of a job in a status, as a pair; none if nothing."""
    with rolled_back():
        stage = Stage(broker, status, on_crash=on_crash)
        assert stage.status == status
        VERBS[verb](stage)
        after = stage.status
    return set() if after == status else {(status, after)}


def all_moves(broker):
    found = {}
    for verb in VERBS:
        found[verb] = set()
        for status in JobStatus:
            found[verb] |= moves(broker, verb, status)
    found["rescue"] |= moves(broker, "rescue", JobStatus.RUNNING, on_crash="fail")
    return found


def test_verbs_do_what_is_legal_and_all_that_is_legal_has_a_verb(broker):
    legal = {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}

    found = all_moves(broker)

    for verb, pairs in found.items():
        assert pairs <= legal, verb
    assert set().union(*found.values()) == legal - FOR_LIMITS


@pytest.mark.parametrize("verb", ["cancel", "requeue", "hasten", "postpone", "promote"])
def test_nobody_but_the_holder_ends_or_moves_a_running_job(broker, verb):
    stage = Stage(broker, JobStatus.RUNNING)

    VERBS[verb](stage)

    job = row(stage.job.id)
    assert (job.status, job.session, job.epoch) == ("running", stage.session, 1)


def test_the_table_knows_every_status():
    assert set(TRANSITIONS) == set(JobStatus)
    assert not TRANSITIONS[JobStatus.SUCCESSFUL]
    for status in FINISHED:
        assert TRANSITIONS[status] <= {JobStatus.READY}
