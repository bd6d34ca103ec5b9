"""Who gets the next jobs: free slots first, then a few milliseconds of look-ahead."""

from collections.abc import Sequence
from typing import Any

from ..brokers import ClaimedJob
from .link import ChildLink
from .waiting import WaitingJobs

# Jobs with their histories, by the index of the child that gets them.
Shares = dict[int, list[tuple[ClaimedJob, Any]]]


def share_out(waiting: WaitingJobs, links: Sequence[ChildLink]) -> Shares:
    """Take jobs out of *waiting* for as long as a child has room for them."""
    shares: Shares = {}
    _fill_slots(shares, waiting, links)
    _fill_ahead(shares, waiting, links)
    return shares


def _fill_slots(
    shares: Shares, waiting: WaitingJobs, links: Sequence[ChildLink]
) -> None:
    """Give each job to the child with the most free slots."""
    free = [(link.free_slots, link.index) for link in links if link.free_slots]
    while free and waiting:
        free.sort(reverse=True)
        count, index = free[0]
        shares.setdefault(index, []).append(waiting.pop())
        if count > 1:
            free[0] = (count - 1, index)
        else:
            free.pop(0)


def _fill_ahead(
    shares: Shares, waiting: WaitingJobs, links: Sequence[ChildLink]
) -> None:
    """Spread what is left over the children in proportion to their room."""
    rooms = [
        (link.room - len(shares.get(link.index, ())), link.index) for link in links
    ]
    total = sum(room for room, _ in rooms if room > 0)
    there = len(waiting)
    for room, index in rooms:
        if room <= 0 or not there:
            continue
        count = min(room, -(-there * room // total), len(waiting))
        shares.setdefault(index, []).extend(waiting.pop() for _ in range(count))
