"""Claim and end jobs until none is left; print what was claimed.

A program of its own for the tests of several processes on one database:
`python -m tests.contracts.claimer generic|own`.
"""

import json
import sys
from uuid import uuid4

import django
from django.db import connection


def work(broker, *, session, limit=7):
    """Claim and end until nothing is left; return (id, epoch) of each claim.

    Every ninth job is handed back once, every fifth retried once: their places and
    tokens change hands while others claim.
    """
    from tests.contracts.jobs import claim, release, retry, succeed

    claimed = []
    while jobs := claim(broker, session=session, limit=limit):
        claimed += [(job.id, job.epoch) for job in jobs]
        endings = []
        for job in jobs:
            number = int(job.id[-2:], 16)
            if job.epoch == 1 and number % 9 == 0:
                endings.append(release(job))
            elif job.epoch == 1 and number % 5 == 0:
                endings.append(retry(job))
            else:
                endings.append(succeed(job))
        written = broker.settle(session, endings)
        assert set(written) == {job.id for job in jobs}
    return claimed


def main(kind):
    """Work as one process."""
    django.setup()
    from django_workers.brokers import Broker, broker_for

    broker = Broker("default") if kind == "generic" else broker_for("default")
    claimed = work(broker, session=uuid4())
    connection.close()
    sys.stdout.write(json.dumps(claimed))


if __name__ == "__main__":
    main(sys.argv[1])
