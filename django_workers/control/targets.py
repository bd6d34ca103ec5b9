"""Which jobs a caller means: one id, many ids, or a queryset."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias
from uuid import UUID

from django.db.models import QuerySet

from ..databases import queue_database
from ..exceptions import JobDoesNotExist
from ..models import Job

# Jobs handled in one transaction.
CHUNK: Final = 1_000
_NAMED: Final = 5

Targets: TypeAlias = "UUID | str | Iterable[UUID | str] | QuerySet[Job]"


def database_of(targets: Targets, using: str | None) -> str:
    """Return the alias to work on: the caller's, the queryset's, or the queue's own."""
    if using is None and isinstance(targets, QuerySet):
        # Not `.db`: that may be a replica, which knows too little.
        using = targets._db  # type: ignore[union-attr]
    return using or queue_database()


def chunks_of(targets: Targets, *, using: str) -> Iterator[list[UUID]]:
    """Yield the ids of the jobs meant, in chunks.

    Raises JobDoesNotExist, before the first chunk, for an id that no job has.
    """
    if isinstance(targets, QuerySet):
        return _chunks_of_queryset(targets.using(using))
    ids = _parsed([targets] if isinstance(targets, (UUID, str)) else targets)
    for chunk in _chunks(ids):
        known = set(
            Job.objects.using(using).filter(id__in=chunk).values_list("id", flat=True)
        )
        _refuse([str(job_id) for job_id in chunk if job_id not in known])
    return _chunks(ids)


def _parsed(targets: Iterable[UUID | str]) -> list[UUID]:
    ids: dict[UUID, None] = {}
    wrong: list[str] = []
    for target in targets:
        if isinstance(target, UUID):
            ids[target] = None
            continue
        try:
            ids[UUID(target)] = None
        except (ValueError, AttributeError, TypeError):
            wrong.append(str(target))
    _refuse(wrong)
    return list(ids)


def _refuse(unknown: list[str]) -> None:
    if not unknown:
        return
    named = ", ".join(unknown[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    raise JobDoesNotExist(f"no job has the id {named}{more}")


def _chunks(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _chunks_of_queryset(jobs: QuerySet[Job]) -> Iterator[list[UUID]]:
    """Walk along the ids: what is done to a chunk may take it out of the queryset."""
    if jobs.query.is_sliced:
        yield from _chunks(list(jobs.values_list("id", flat=True)))
        return
    ids = jobs.order_by("id").values_list("id", flat=True)
    # Not beyond what is there now, however fast new jobs come in.
    last = jobs.order_by("-id").values_list("id", flat=True).first()
    chunk = list(ids.filter(id__lte=last)[:CHUNK]) if last else []
    while chunk:
        yield chunk
        chunk = list(ids.filter(id__gt=chunk[-1], id__lte=last)[:CHUNK])
