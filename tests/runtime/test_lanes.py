"""Which lanes a worker claims from, in which order, and from which position on."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workers.brokers import Claim, Lane
from django_workers.runtime import lanes as room
from django_workers.runtime.lanes import Lanes
from tests.runtime.test_dispatcher import job

A, B = Lane("a", 0), Lane("b", 0)


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def knowing(clock, *lanes, **options):
    """Return Lanes that have discovered some."""
    known = Lanes(clock=clock, **options)
    known.discovered(lanes)
    return known


def order(lanes):
    return [lane for lane, _floor in lanes.in_claim_order()]


# Order


def test_a_worker_serves_every_queue_but_the_excluded_ones(clock):
    lanes = knowing(clock, A, B, Lane("c", 0), excluded_queues=["b"])

    assert {lane.queue for lane in order(lanes)} == {"a", "c"}
    assert [lanes.serves(name) for name in "abc"] == [True, False, True]


def test_a_worker_with_queues_serves_only_those(clock):
    lanes = knowing(clock, A, B, Lane("c", 0), queues=["c", "a"])
    lanes.hear(B)
    lanes.handed_back([B])

    assert order(lanes) == [Lane("c", 0), A]


def test_queues_are_strict_in_the_order_given(clock):
    known = [Lane(queue, priority) for queue in ("low", "high") for priority in (0, 99)]
    lanes = knowing(clock, *known, queues=["high", "low"])

    for _ in range(7):
        assert order(lanes) == [
            Lane("high", 99),
            Lane("high", 0),
            Lane("low", 99),
            Lane("low", 0),
        ]


def test_without_an_order_of_queues_priority_decides(clock):
    lanes = knowing(clock, Lane("a", -5), Lane("b", 0), Lane("c", 100))

    for _ in range(5):
        assert [lane.priority for lane in order(lanes)] == [100, 0, -5]


def test_equal_lanes_take_turns_whatever_lies_between_them(clock):
    c = Lane("c", 0)
    between = [Lane(f"x{n}", -1 - n % 3) for n in range(9)]
    lanes = knowing(clock, A, *between, B, c)
    firsts = []

    for place in range(30):
        asked = lanes.in_claim_order()
        firsts.append(asked[0][0])
        found = claim_of(place, lane=firsts[-1])
        lanes.claimed(asked, found, limit=1, seconds=0.001)

    assert [firsts.count(lane) for lane in (A, B, c)] == [10, 10, 10]


def test_a_lane_that_was_cut_off_comes_first_next_time(clock):
    lanes = knowing(clock, A, B)
    asked = lanes.in_claim_order()
    first, second = (lane for lane, _floor in asked)
    both = claim_of(1, lane=first).jobs + claim_of(2, lane=second).jobs

    lanes.claimed(asked, claim_of(1, lane=first), limit=1, seconds=0.001)
    assert order(lanes) == [second, first]
    lanes.claimed(lanes.in_claim_order(), Claim(both), limit=9, seconds=0.001)

    assert len(order(lanes)) == 2


def test_jobs_of_several_lanes_are_ranked_as_claims_meet_them(clock):
    lanes = knowing(clock, queues=["x", "y"])

    ranked = sorted(
        [Lane("y", 9), Lane("x", 0), Lane("x", 5), Lane("y", 0)], key=lanes.rank_of
    )

    assert ranked == [Lane("x", 5), Lane("x", 0), Lane("y", 9), Lane("y", 0)]


def test_a_paused_queue_is_left_alone_until_it_is_resumed(clock):
    lanes = knowing(clock, A, B)

    lanes.pause(["a"])
    assert order(lanes) == [B]
    lanes.pause(["a", "b"])
    assert order(lanes) == []
    assert not lanes.any_open
    lanes.pause([])
    assert set(order(lanes)) == {A, B}


# What is known of lanes


def claim_of(*positions, lane=A, xmin=None, xmax=None):
    jobs = [job(place, queue=lane.queue, priority=lane.priority) for place in positions]
    return Claim(jobs, xmin, xmax)


def test_a_lane_that_gave_nothing_is_empty_until_something_is_heard(clock):
    lanes = knowing(clock, A, B)
    asked = lanes.in_claim_order()

    lanes.claimed(asked, claim_of(1, lane=B), limit=5, seconds=0.01)
    assert order(lanes) == [B]

    lanes.hear(A)
    assert set(order(lanes)) == {A, B}
    assert lanes.any_open


def test_a_lane_the_limit_did_not_reach_is_not_taken_for_empty(clock):
    lanes = knowing(clock, Lane("a", 9), B)
    asked = lanes.in_claim_order()

    lanes.claimed(asked, claim_of(1, 2, lane=Lane("a", 9)), limit=2, seconds=0.01)

    assert order(lanes) == [Lane("a", 9), B]


def test_a_lane_that_is_gone_is_forgotten_after_a_while(clock):
    lanes = knowing(clock, A, B)

    lanes.discovered([B])
    assert order(lanes) == [B]
    clock.now += room.MEMORY_SECONDS + 1
    lanes.discovered([B])

    assert list(lanes._states) == [B]


def test_everything_can_be_forgotten(clock):
    lanes = knowing(clock, A, B)

    lanes.forget()

    assert order(lanes) == []


def test_lanes_of_tasks_are_told_apart(clock):
    one, two = Lane("a", 0, "tests.one"), Lane("a", 0, "tests.two")
    lanes = knowing(clock, one, two)
    asked = lanes.in_claim_order()
    found = Claim([job(5, queue="a", task="tests.one")], 7, 9)

    lanes.claimed(asked, found, limit=3, seconds=0.01)

    assert order(lanes) == [one]


# The floor


def floor_of(lanes, lane=A):
    return dict(lanes.in_claim_order())[lane]


def claimed(lanes, claim, *, limit=100, seconds=0.0001):
    lanes.claimed(lanes.in_claim_order(), claim, limit=limit, seconds=seconds)


def test_the_floor_rises_once_all_that_a_claim_could_not_see_has_ended(clock):
    lanes = knowing(clock, A)

    claimed(lanes, claim_of(1, 2, 3, xmin=10, xmax=15))
    assert floor_of(lanes) == 0
    claimed(lanes, claim_of(7, xmin=14, xmax=18))
    assert floor_of(lanes) == 0
    claimed(lanes, claim_of(9, xmin=15, xmax=20))

    assert floor_of(lanes) == 3


def test_under_a_snapshot_that_stands_still_the_floor_rises_after_a_second(clock):
    lanes = knowing(clock, A)

    claimed(lanes, claim_of(1, 2, 3, xmin=10, xmax=15))
    clock.now += 0.7
    claimed(lanes, claim_of(5, xmin=10, xmax=20))
    clock.now += 0.2
    assert floor_of(lanes) == 0
    clock.now += 0.2
    claimed(lanes, claim_of(8, xmin=10, xmax=25))

    assert floor_of(lanes) == 3


def test_thousands_of_claims_under_a_still_snapshot_raise_the_floor_too(clock):
    lanes = knowing(clock, A)

    for place in range(1, 10_000):
        claimed(lanes, claim_of(place, xmin=10, xmax=15 + place))
        clock.now += 0.0003

    assert 10_000 - floor_of(lanes) < 1.5 * room.STILL_SECONDS / 0.0003
    assert len(lanes._states[A].marks) <= room.MOST_MARKS


def test_a_claim_that_was_cut_short_raises_no_floor_beyond_its_reach(clock):
    lanes = knowing(clock, A)
    claimed(lanes, claim_of(50, xmin=10, xmax=11))

    claimed(lanes, claim_of(3, 4, xmin=12, xmax=13), limit=2)

    assert floor_of(lanes) == 0


def test_without_snapshots_there_is_no_floor(clock):
    lanes = knowing(clock, A)

    for place in range(5):
        claimed(lanes, claim_of(place))
        clock.now += 5

    assert floor_of(lanes) == 0


def with_floor(clock, *others):
    """Return Lanes with a floor of 100 in lane A, and in others."""
    lanes = knowing(clock, A, *others)
    for lane in (A, *others):
        for place, xmin in ((100, 10), (101, 20)):
            found = claim_of(place, lane=lane, xmin=xmin, xmax=xmin + 1)
            lanes.claimed([(lane, 0)], found, limit=1, seconds=0.0001)
    assert all(lanes._states[lane].floor == 100 for lane in (A, *others))
    return lanes


def test_a_lane_with_returned_jobs_starts_from_zero(clock):
    lanes = with_floor(clock)

    lanes.handed_back([A])

    assert floor_of(lanes) == 0


def test_a_lane_that_is_found_although_it_gave_nothing_starts_from_zero(clock):
    lanes = with_floor(clock)
    claimed(lanes, Claim([], 30, 31))
    assert order(lanes) == []

    lanes.discovered([A])

    assert floor_of(lanes) == 0


def test_a_busy_lane_keeps_its_floor_when_it_is_discovered(clock):
    lanes = with_floor(clock)

    lanes.discovered([A])

    assert floor_of(lanes) == 100


def test_every_second_a_lane_is_looked_at_from_zero(clock):
    lanes = with_floor(clock)
    place = 200
    zeros = 0

    for _ in range(1_000):
        place += 1
        clock.now += 0.01
        asked = lanes.in_claim_order()
        zeros += asked[0][1] == 0
        lanes.claimed(
            asked, claim_of(place, xmin=place, xmax=place), limit=10, seconds=0.001
        )

    assert 9 <= zeros <= 10


def test_rescans_take_a_small_share_of_the_time(clock):
    lanes = with_floor(clock)
    place, spent, total = 200, 0.0, 0.0

    for _ in range(2_000):
        place += 1
        asked = lanes.in_claim_order()
        seconds = 0.3 if asked[0][1] == 0 else 0.01
        clock.now += seconds
        total += seconds
        spent += seconds if asked[0][1] == 0 else 0
        lanes.claimed(
            asked, claim_of(place, xmin=place, xmax=place), limit=10, seconds=seconds
        )

    assert spent > 0
    assert spent - 0.3 <= total * room.RESCAN_SHARE


def test_one_claim_that_took_for_ever_does_not_put_rescans_off_for_ever(clock):
    lanes = with_floor(clock)
    clock.now += 2
    claimed(lanes, claim_of(300, xmin=30, xmax=31), seconds=60)
    claimed(lanes, claim_of(301, xmin=40, xmax=41))
    assert floor_of(lanes) > 0

    clock.now += room.MOST_RESCAN_PAUSE_SECONDS + 0.1

    assert floor_of(lanes) == 0


def test_every_busy_lane_gets_its_rescan_whatever_the_rhythm_of_claims(clock):
    lanes = with_floor(clock, B)
    place = 200
    seen = set()

    # Each claim fills up in the first lane it meets, and every second one comes when
    # a rescan is due: the turns of the lanes and the rescans march in step.
    for _ in range(40):
        clock.now += room.RESCAN_SECONDS / 2
        place += 1
        asked = lanes.in_claim_order()
        lane, floor = asked[0]
        if floor == 0:
            seen.add(lane)
        found = claim_of(place, lane=lane, xmin=place, xmax=place)
        lanes.claimed(asked, found, limit=1, seconds=0.001)

    assert seen == {A, B}


def test_when_many_jobs_slipped_below_the_floor_it_starts_afresh(clock):
    lanes = with_floor(clock)
    clock.now += 1.5

    # A rescan, cut short far below the floor: thousands may wait there.
    claimed(lanes, claim_of(1, 2, 3, xmin=30, xmax=31), limit=3)

    assert floor_of(lanes) == 0


# A whole database in small: transactions, snapshots, and nothing hidden for ever


@dataclass
class Row:
    position: int
    lane: Lane
    xid: int


class Database:
    """Jobs become visible at the commit of their transaction, positions before."""

    def __init__(self):
        self.next_xid = 10
        self.next_position = 1
        self.open = {}
        self.rows = []

    def begin(self):
        self.open[self.next_xid] = []
        self.next_xid += 1
        return self.next_xid - 1

    def insert(self, xid, lane):
        self.open[xid].append(Row(self.next_position, lane, xid))
        self.next_position += 1

    def commit(self, xid):
        self.rows += self.open.pop(xid)

    def put_back(self, row):
        self.rows.append(row)

    def claim(self, lanes, *, limit):
        xmax = self.next_xid
        xmin = min(self.open, default=xmax)
        self.next_xid += 1  # the claim itself writes
        found = []
        for lane, floor in lanes:
            mine = sorted(
                (r for r in self.rows if r.lane == lane and r.position >= floor),
                key=lambda r: r.position,
            )
            found += mine[: limit - len(found)]
        for row in found:
            self.rows.remove(row)
        jobs = [
            job(r.position, queue=r.lane.queue, priority=r.lane.priority) for r in found
        ]
        return Claim(jobs, xmin, xmax)

    @property
    def lanes(self):
        return {row.lane for row in self.rows}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from([A, B])),
        st.tuples(st.just("insert"), st.sampled_from([A, B])),
        st.tuples(st.just("commit"), st.integers(0, 3)),
        st.tuples(st.just("quick"), st.sampled_from([A, B])),
        st.tuples(st.just("claim"), st.integers(1, 4)),
        st.tuples(st.just("put back"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.4, 1.1, 3.0])),
        st.tuples(st.just("discover"), st.none()),
    ),
    max_size=60,
)


@given(
    steps=STEPS,
    rhythm=st.sampled_from([0.005, 0.02, 0.25, 0.5]),
    limit=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_a_floor_never_hides_a_job_for_ever(steps, rhythm, limit):
    clock, database = Clock(), Database()
    lanes = Lanes(clock=clock)
    held = []

    def claim(limit):
        asked = lanes.in_claim_order()
        if asked:
            found = database.claim(asked, limit=limit)
            assert len(found.jobs) <= limit
            held.extend(found.jobs)
            lanes.claimed(asked, found, limit=limit, seconds=0.0005)
            return {j.position for j in found.jobs}
        return set()

    for step, value in steps:
        if step == "begin":
            database.insert(database.begin(), value)
        elif step == "insert" and database.open:
            database.insert(min(database.open), value)
        elif step == "commit" and database.open:
            database.commit(sorted(database.open)[value % len(database.open)])
        elif step == "quick":
            xid = database.begin()
            database.insert(xid, value)
            database.commit(xid)
            lanes.hear(value)
        elif step == "claim":
            claim(value)
        elif step == "put back" and held:
            # By another worker: nobody tells this one.
            back = held.pop(value % len(held))
            lane = Lane(back.queue, back.priority)
            database.put_back(Row(back.position, lane, 0))
        elif step == "wait":
            clock.now += value
        elif step == "discover":
            lanes.discovered(database.lanes)
    for xid in sorted(database.open):
        database.commit(xid)

    # From here on each claim finds as many fresh jobs as it can take, in lanes that
    # never run dry; and still the old ones must come, within a bounded time.
    left = {row.position for row in database.rows}
    until = clock.now + 8 + len(left) * rhythm * 2
    discovered_at = 0.0
    while left:
        clock.now += rhythm
        if clock.now - discovered_at >= 1.0:
            lanes.discovered(database.lanes)
            discovered_at = clock.now
        for lane in (A, B):
            while sum(row.lane == lane for row in database.rows) < limit + 1:
                xid = database.begin()
                database.insert(xid, lane)
                database.commit(xid)
        left -= claim(limit)
        assert clock.now < until, f"hidden: {left}"
