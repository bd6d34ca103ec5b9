"""Read the shipped files into the database, many lines to a job."""

from collections.abc import Sequence

from django.db import transaction

from django_workers import exponential, task
from django_workers.results import JobResult

from .. import catalogue
from ..models import Transition, Zone

CHUNK = 250


@task(
    name="import:transitions",
    queue_name="imports",
    max_attempts=3,
    backoff=exponential(initial=1, cap=30),
)
def import_transitions(start: int, stop: int) -> int:
    """Read the lines from *start* up to *stop*; return how many there were.

    May run any number of times, and beside others of its kind: a line that is there
    already is left alone.
    """
    rows = catalogue.transitions(start, stop)
    known = catalogue.zones()
    names = sorted({row.zone for row in rows})
    with transaction.atomic():
        Zone.objects.bulk_create(
            [Zone(**known[name]._asdict()) for name in names], ignore_conflicts=True
        )
        Transition.objects.bulk_create(
            [
                Transition(
                    zone_id=row.zone,
                    at=row.at,
                    offset_before=row.offset_before,
                    offset_after=row.offset_after,
                    abbreviation=row.abbreviation,
                )
                for row in rows
            ],
            ignore_conflicts=True,
        )
    return len(rows)


def import_everything() -> Sequence[JobResult[..., int]]:
    """Enqueue the whole file, one job for so many lines."""
    total = catalogue.transition_count()
    return import_transitions.enqueue_many(
        ((start, min(start + CHUNK, total)), {}) for start in range(0, total, CHUNK)
    )
