import pickle
import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from django_workers.cron import Cron, Every, cron, every, expression, slots
from django_workers.exceptions import InvalidSchedule

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 22, 18, 20, 3, 5, tzinfo=UTC)

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"  # moves its clock by half an hour
APIA = "Pacific/Apia"  # left out 30 December 2011
ZONES = sorted(
    name
    for name in available_timezones()
    if "/" in name and not name.startswith(("posix/", "right/", "Etc/"))
)


def local(text, zone=BERLIN, fold=0):
    """Read a local time; in UTC, as two readings of a repeated hour compare equal."""
    here = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return here.astimezone(UTC)


def slots_between(timing, start, end):
    found = []
    at = timing.next_after(start)
    while at is not None and at < end:
        found.append(at)
        at = timing.next_after(at)
    return found


def shown(timing, start, end, zone=BERLIN):
    """List the slots between two local times, as the zone's clock shows them."""
    found = slots_between(timing, local(start, zone), local(end, zone))
    return [slot.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z") for slot in found]


# Reading expressions


@pytest.mark.parametrize(
    ("text", "next_slot"),
    [
        ("* * * * *", "2026-11-22 18:21:00"),
        ("*/10 * * * *", "2026-11-22 18:30:00"),
        ("20 18 * * *", "2026-11-23 18:20:00"),
        ("0 9 * * MON-FRI", "2026-11-23 09:00:00"),
        ("0 0 1 jan *", "2027-01-01 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 12 L * *", "2026-11-30 12:00:00"),
        ("0 12 LW 10 *", "2027-10-29 12:00:00"),
        ("0 12 * * 5L", "2026-11-27 12:00:00"),
        ("0 12 * * MON#2", "2026-12-14 12:00:00"),
        ("0 0 13 * 5", "2026-11-27 00:00:00"),
        ("0 0 */2 * 1", "2026-11-23 00:00:00"),
        ("  0\t0  * * *  ", "2026-11-23 00:00:00"),
        ("*/5 * * * * *", "2026-11-22 18:20:05"),
        ("30 0 12 * * *", "2026-11-23 12:00:30"),
        ("@hourly", "2026-11-22 19:00:00"),
        ("@daily", "2026-11-23 00:00:00"),
        ("@midnight", "2026-11-23 00:00:00"),
        ("@weekly", "2026-11-29 00:00:00"),
        ("@monthly", "2026-12-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
        (" @Daily ", "2026-11-23 00:00:00"),
    ],
)
def test_an_expression_names_its_times(text, next_slot):
    timing = cron(text, timezone="UTC")

    assert timing.next_after(NOW) == datetime.fromisoformat(f"{next_slot}+00:00")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 fields"),
        ("* * *", "has 3 fields; a cron expression has five"),
        ("* * * * * * *", "six with the seconds first"),
        ("60 * * * *", "Bad minute"),
        ("* 24 * * *", "Bad hour"),
        ("* * 32 * *", "Bad day-of-month"),
        ("* * * 13 *", "Bad month"),
        ("* * * * 8", "Bad day-of-week"),
        ("60 * * * * *", "Bad second"),
        ("x * * * *", "is no cron expression"),
        ("*/0 * * * *", "is no cron expression"),
        ("5-1 * * * *", "is no cron expression"),
        ("1,,2 * * * *", "is no cron expression"),
        ("\0 * * * *", "is no cron expression"),
        ("0 0 31 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 */3 2 1#5", "never fires"),
        ("0 0 32 2 *", "Bad day-of-month"),
        ("0 0 31 13 *", "Bad month"),
        ("* * * * *" + " " * 248, "at most 256 characters"),
        ("1," * 500_000 + "1 * * * *", "this one 1,000,009"),
        ("@dayly", "did you mean @daily?"),
        ("@reboot", "is no alias"),
        ("@every 5m", "is no alias"),
        (None, "is a string, not NoneType"),
        (b"* * * * *", "is a string, not bytes"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_expression_that_cannot_work_is_refused_at_once(text, words):
    before = time.monotonic()
    with pytest.raises(InvalidSchedule) as refusal:
        cron(text)

    assert words in str(refusal.value)
    assert time.monotonic() - before < 5


@settings(deadline=5_000, max_examples=300)
@given(
    st.one_of(
        st.text(max_size=300),
        st.text("0123456789*/,-#LWSUNMONJAN ?@", max_size=60),
        st.lists(
            st.from_regex(
                r"(\*|\d\d?(-\d\d?)?)(/\d\d?)?(,\d\d?)?|L|LW|\dL|\d#\d",
                fullmatch=True,
            ),
            min_size=5,
            max_size=6,
        ).map(" ".join),
    )
)
def test_any_text_is_refused_or_fires_and_can_be_described(text):
    try:
        timing = cron(text, timezone=BERLIN)
    except InvalidSchedule:
        return

    after = timing.next_after(NOW)
    before = timing.latest_before(NOW)

    assert after is not None
    assert after > NOW
    assert before is None or before <= NOW
    assert timing.describe()


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "Did you mean 'Europe/Berlin'?"),
        ("Mars/Olympus_Mons", "'Mars/Olympus_Mons' is no known time zone."),
        ("", "is no known time zone"),
        ("America", "is no known time zone"),
        ("../../etc/passwd", "is no known time zone"),
        ("/etc/passwd", "is no known time zone"),
        ("Europe/Berlin\0", "is no known time zone"),
        ("x" * 5_000, "is no known time zone"),
        (5, "is no known time zone"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone, words):
    with pytest.raises(InvalidSchedule) as refusal:
        cron("* * * * *", timezone=zone)

    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_zone_may_be_given_as_an_object():
    assert cron("@daily", timezone=ZoneInfo(BERLIN)) == Cron("@daily", BERLIN)
    assert cron("@daily", timezone=UTC) == Cron("@daily", "UTC")


def test_a_fixed_offset_is_no_zone_with_a_name():
    with pytest.raises(InvalidSchedule):
        cron("@daily", timezone=timezone(HOUR))


def test_without_a_zone_the_setting_counts_when_asked(settings):
    timing = cron("0 12 * * *")

    settings.TIME_ZONE = "Asia/Tokyo"
    in_tokyo = timing.next_after(NOW)
    settings.TIME_ZONE = NEW_YORK
    in_new_york = timing.next_after(NOW)

    assert in_tokyo == local("2026-11-23 12:00", "Asia/Tokyo")
    assert in_new_york == local("2026-11-23 12:00", NEW_YORK)


def test_a_zone_that_has_vanished_is_told_when_asked(monkeypatch):
    timing = cron("0 12 * * *", timezone=BERLIN)

    def gone(key):
        raise ZoneInfoNotFoundError(key)

    monkeypatch.setattr(slots, "ZoneInfo", gone)

    with pytest.raises(InvalidSchedule, match="no known time zone"):
        timing.next_after(NOW)


def test_timings_are_values():
    for timing in (cron("@daily", timezone=BERLIN), every(60)):
        assert pickle.loads(pickle.dumps(timing)) == timing
        assert hash(pickle.loads(pickle.dumps(timing))) == hash(timing)
    assert cron("@daily") != cron("@daily", timezone=BERLIN)
    for timing, name in ((cron("@daily"), "timezone"), (every(60), "seconds")):
        with pytest.raises(AttributeError):
            setattr(timing, name, None)
    assert every(60) == every(timedelta(minutes=1)) != every(61)


def test_timings_describe_themselves():
    assert cron("30 2 * * *").describe() == "At 02:30 every day"
    assert cron("30 2 * * *", timezone=BERLIN).describe().endswith("(Europe/Berlin)")
    assert every(1).describe() == "Every second"
    assert every(90).describe() == "Every 90 seconds"
    assert every(60).describe() == "Every minute"
    assert every(7200).describe() == "Every 2 hours"
    assert every(timedelta(days=1)).describe() == "Every day"
    assert every(1.5).describe() == "Every 1.5 seconds"


def test_a_description_that_fails_is_replaced_by_the_expression(monkeypatch):
    def fail(parsed):
        raise IndexError

    monkeypatch.setattr("cronsim.CronSim.explain", fail)
    monkeypatch.setattr(expression, "parse", expression.parse.__wrapped__)

    assert expression.parse("7 7 7 7 *").words == "Cron 7 7 7 7 *"


# Questions and answers


@pytest.mark.parametrize(
    "timing", [cron("* * * * *"), every(60)], ids=["cron", "every"]
)
def test_a_naive_moment_is_refused(timing):
    for ask in (timing.next_after, timing.latest_before):
        with pytest.raises(ValueError, match="aware"):
            ask(NOW.replace(tzinfo=None))


def test_answers_are_in_utc_whatever_zone_the_question_has():
    for timing in (cron("0 12 * * *", timezone=BERLIN), every(3600)):
        for moment in (NOW, NOW.astimezone(ZoneInfo("Asia/Kathmandu"))):
            for slot in (timing.next_after(moment), timing.latest_before(moment)):
                assert slot is not None
                assert slot.tzinfo is UTC
        assert timing.next_after(NOW) == timing.next_after(
            NOW.astimezone(ZoneInfo("Asia/Kathmandu"))
        )


def test_next_is_strictly_after_and_latest_may_be_the_moment_itself():
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    tick = timedelta(microseconds=1)

    for timing in (cron("0 12 * * *", timezone="UTC"), every(DAY)):
        anchor = noon - 5 * DAY
        assert timing.next_after(noon - tick, anchor=anchor) == noon
        assert timing.next_after(noon, anchor=anchor) == noon + DAY
        assert timing.next_after(noon + tick, anchor=anchor) == noon + DAY
        assert timing.latest_before(noon - tick, anchor=anchor) == noon - DAY
        assert timing.latest_before(noon, anchor=anchor) == noon
        assert timing.latest_before(noon + tick, anchor=anchor) == noon


def test_the_calendar_ends_without_an_error():
    first = datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC)

    for zone in ("UTC", BERLIN, "Asia/Tokyo", NEW_YORK):
        for text in ("0 0 29 2 *", "* * * * *", "*/5 2 29 2 *"):
            timing = cron(text, timezone=zone)
            assert timing.next_after(last) is None
            for moment in (first, last):
                timing.next_after(moment)
                timing.latest_before(moment)
        assert cron("0 0 29 2 *", timezone=zone).latest_before(first) is None
    assert every(60).next_after(last) is None
    assert every(60).latest_before(first) is None


def test_a_year_of_missed_minutes_takes_one_look(monkeypatch):
    looks = []
    look = expression.Times.last_until

    def counted(self, reading):
        looks.append(reading)
        return look(self, reading)

    monkeypatch.setattr(expression.Times, "last_until", counted)

    latest = cron("* * * * *", timezone=BERLIN).latest_before(NOW)

    assert latest == NOW.replace(second=0, microsecond=0)
    assert len(looks) == 1


@pytest.mark.parametrize("text", ["0 0 29 2 *", "*/5 2 29 2 *", "0 0 * 2 1#5"])
@pytest.mark.parametrize("zone", ["UTC", BERLIN, LORD_HOWE])
def test_rare_times_are_found_in_few_looks(text, zone, monkeypatch):
    looks = []
    for name in ("first_after", "last_until"):
        look = getattr(expression.Times, name)

        def counted(self, reading, look=look):
            looks.append(reading)
            return look(self, reading)

        monkeypatch.setattr(expression.Times, name, counted)
    timing = cron(text, timezone=zone)
    looks.clear()

    following = timing.next_after(NOW)
    latest = timing.latest_before(NOW)

    assert latest is not None
    assert following is not None
    assert latest < NOW < following
    assert len(looks) < 20


# Clocks that are moved


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # In the gap from 02:00 to 03:00 a fixed time fires at its end, and once.
        ("30 2 * * *", ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("0 30 2 * * *", ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("0,30 2 28-30 * *", ["28 02:00+0100", "28 02:30+0100", "29 03:00+0200",
                              "30 02:00+0200", "30 02:30+0200"]),
        ("0 2,3 29 * *", ["29 03:00+0200"]),
        ("59 1 29 * *", ["29 01:59+0100"]),
        # Wildcards follow elapsed time: no hour, no slots.
        ("*/30 2 * * *", ["28 02:00+0100", "28 02:30+0100",
                          "30 02:00+0200", "30 02:30+0200"]),
        ("30 */2 29 * *", ["29 00:30+0100"] + [f"29 {h:02}:30+0200"
                                               for h in range(4, 24, 2)]),
    ],
)  # fmt: skip
def test_berlin_in_spring(text, expected):
    found = shown(cron(text, timezone=BERLIN), "2026-03-28 00:00", "2026-03-31 00:00")

    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # From 02:00 to 03:00 twice: a fixed time fires the first time.
        ("30 2 * * *", ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]),
        ("15 30 2 * * *", ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]),
        ("0 2,3 25 * *", ["25 02:00+0200", "25 03:00+0100"]),
        # Wildcards follow elapsed time: an hour more, its slots more.
        ("*/30 2 25 * *", ["25 02:00+0200", "25 02:30+0200",
                           "25 02:00+0100", "25 02:30+0100"]),
        ("0 */3 25 * *", ["25 00:00+0200", "25 03:00+0100"]
                         + [f"25 {h:02}:00+0100" for h in range(6, 24, 3)]),
    ],
)  # fmt: skip
def test_berlin_in_autumn(text, expected):
    found = shown(cron(text, timezone=BERLIN), "2026-10-24 00:00", "2026-10-27 00:00")

    assert found == expected


def test_a_question_asked_within_the_repeated_hour():
    fixed = cron("30 2 * * *", timezone=BERLIN)
    flowing = cron("*/30 * * * *", timezone=BERLIN)
    first = local("2026-10-25 02:30")
    second = local("2026-10-25 02:30", fold=1)

    for minute in (10, 40):
        moment = local(f"2026-10-25 02:{minute}", fold=1)
        assert fixed.next_after(moment) == local("2026-10-26 02:30")
        assert fixed.latest_before(moment) == first
    assert flowing.next_after(first) == local("2026-10-25 02:00", fold=1)
    assert flowing.latest_before(second - MINUTE) == local("2026-10-25 02:00", fold=1)
    assert flowing.latest_before(second - HOUR) == first


def test_an_hourly_job_never_falls_silent():
    for zone in (BERLIN, NEW_YORK, LORD_HOWE):
        for month in (3, 4, 10, 11):
            start = datetime(2026, month, 1, tzinfo=UTC)
            for text in ("* * * * *", "*/30 * * * *"):
                found = slots_between(
                    cron(text, timezone=zone), start + 27 * HOUR, start + 30 * HOUR
                )
                assert len(found) >= 5


def test_new_york_moves_at_two():
    daily = cron("30 2 * * *", timezone=NEW_YORK)
    night = cron("30 1 * * *", timezone=NEW_YORK)

    assert shown(daily, "2026-03-07 12:00", "2026-03-09 12:00", NEW_YORK) == [
        "08 03:00-0400",
        "09 02:30-0400",
    ]
    assert shown(night, "2026-10-31 12:00", "2026-11-02 12:00", NEW_YORK) == [
        "01 01:30-0400",
        "02 01:30-0500",
    ]


def test_lord_howe_moves_by_half_an_hour():
    # 4 October: 02:00 becomes 02:30. 5 April: 02:00 becomes 01:30.
    daily = cron("15 2 * * *", timezone=LORD_HOWE)
    late = cron("45 1 * * *", timezone=LORD_HOWE)
    quarters = cron("*/15 2-3 * * *", timezone=LORD_HOWE)
    night = cron("*/15 1-2 * * *", timezone=LORD_HOWE)

    assert shown(daily, "2026-10-04 00:00", "2026-10-05 12:00", LORD_HOWE) == [
        "04 02:30+1100",
        "05 02:15+1100",
    ]
    assert shown(late, "2026-04-05 00:00", "2026-04-06 12:00", LORD_HOWE) == [
        "05 01:45+1100",
        "06 01:45+1030",
    ]
    assert shown(quarters, "2026-10-04 00:00", "2026-10-05 00:00", LORD_HOWE) == [
        f"04 {clock}+1100"
        for clock in ("02:30", "02:45", "03:00", "03:15", "03:30", "03:45")
    ]
    assert shown(night, "2026-04-05 00:00", "2026-04-06 00:00", LORD_HOWE) == [
        "05 01:00+1100", "05 01:15+1100", "05 01:30+1100", "05 01:45+1100",
        "05 01:30+1030", "05 01:45+1030", "05 02:00+1030", "05 02:15+1030",
        "05 02:30+1030", "05 02:45+1030",
    ]  # fmt: skip


def test_apia_had_no_30_december_2011():
    daily = cron("0 12 * * *", timezone=APIA)
    flowing = cron("0 */6 * * *", timezone=APIA)
    on_that_day = cron("0 12 30 12 *", timezone=APIA)

    assert shown(daily, "2011-12-29 00:00", "2012-01-01 00:00", APIA) == [
        "29 12:00-1000",
        "31 12:00+1400",
    ]
    assert shown(flowing, "2011-12-29 12:00", "2011-12-31 12:00", APIA) == [
        "29 18:00-1000",
        "31 00:00+1400",
        "31 06:00+1400",
    ]
    assert shown(on_that_day, "2010-12-01 00:00", "2013-01-01 00:00", APIA) == [
        "30 12:00-1000",
        "30 12:00+1400",
    ]
    assert daily.latest_before(local("2011-12-31 11:00", APIA)) == local(
        "2011-12-29 12:00", APIA
    )


def test_a_gap_at_midnight_fires_right_after_it():
    # Nuuk puts its clock forward at 23:00, to midnight.
    late = cron("30 23 * * *", timezone="America/Nuuk")
    # Cairo does so at midnight, to 01:00.
    midnight = cron("@daily", timezone="Africa/Cairo")

    assert shown(late, "2024-03-30 00:00", "2024-04-01 00:00", "America/Nuuk") == [
        "31 00:00-0100",
        "31 23:30-0100",
    ]
    assert shown(midnight, "2024-04-25 12:00", "2024-04-27 12:00", "Africa/Cairo") == [
        "26 01:00+0300",
        "27 00:00+0300",
    ]


# Every zone, against a clock read minute by minute

fields_of_time = st.sampled_from(
    [
        "30 2", "0,30 2", "0 2,3", "*/15 2", "*/30 *", "30 *", "0 */2", "15,45 0-3",
        "0 0", "59 23", "*/10 1-3", "*/20 0,23", "0 12", "0 0-23", "*/7 *", "1-59/6 1",
    ]
)  # fmt: skip
fields_of_date = st.sampled_from(["* * *", "* * *", "*/3 * *", "1-15 * 0,6", "* */2 *"])


def next_move(zone, moment):
    """Find the day in which the zone's clock is moved next, or None."""
    for _ in range(800):
        if (
            moment.astimezone(zone).utcoffset()
            != (moment + DAY).astimezone(zone).utcoffset()
        ):
            return moment
        moment += DAY
    return None


def slots_minute_by_minute(text, zone, start, end):
    """Find what the rule says in the slow and simple way."""
    minutes, hours = text.split()[:2]
    named = expression.parse(text)._ahead
    clock = []
    at = start - 2 * DAY
    while at < end + 2 * DAY:
        clock.append((at, at.astimezone(zone).replace(tzinfo=None, fold=0)))
        at += MINUTE

    def is_named(reading):
        return (
            reading.month in named.months
            and named.match_day(reading.date())
            and reading.hour in named.hours
            and reading.minute in named.minutes
        )

    if minutes.startswith("*") or hours.startswith("*"):
        found = {at for at, reading in clock if is_named(reading)}
    else:
        first_shown: dict[datetime, datetime] = {}
        for at, reading in clock:
            first_shown.setdefault(reading, at)
        found = {at for reading, at in first_shown.items() if is_named(reading)}
        days = {reading.date() for _, reading in clock}
        for (_, before), (at, after) in pairwise(clock):
            left_out = before + MINUTE
            while left_out < after:
                if is_named(left_out) and left_out.date() in days:
                    found.add(at)
                left_out += MINUTE
    return sorted(at for at in found if start < at < end)


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(ZONES),
    st.integers(0, 70 * 365),
    fields_of_time,
    fields_of_date,
    st.lists(st.integers(-150_000, 150_000), min_size=4, max_size=8),
)
def test_every_zone_keeps_the_rule_around_every_move(name, day, times, dates, seconds):
    zone = ZoneInfo(name)
    moved = next_move(zone, datetime(1970, 1, 2, tzinfo=UTC) + day * DAY)
    assume(moved is not None)
    offsets = [at.astimezone(zone).utcoffset() for at in (moved, moved + DAY)]
    assume(all(offset % MINUTE == timedelta(0) for offset in offsets))
    timing = cron(f"{times} {dates}", timezone=name)
    start, end = moved - DAY, moved + 2 * DAY

    expected = slots_minute_by_minute(timing.expression, zone, start, end)

    assert slots_between(timing, start, end) == expected
    for offset in seconds:
        moment = moved + timedelta(seconds=offset)
        earlier = [slot for slot in expected if slot <= moment]
        later = [slot for slot in expected if slot > moment]
        if earlier:
            assert timing.latest_before(moment) == earlier[-1]
        if later and moment > start:
            assert timing.next_after(moment) == later[0]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(ZONES),
    st.integers(2000, 2039),
    st.integers(0, 23),
    st.integers(0, 59),
)
def test_a_fixed_time_fires_once_per_local_day(name, year, hour, minute):
    zone = ZoneInfo(name)
    timing = cron(f"{minute} {hour} * * *", timezone=name)
    # Noon to noon, far from a slot's own day being cut in two by the window.
    start = datetime(year, 1, 1, 12, tzinfo=zone)
    end = datetime(year + 1, 1, 1, 12, tzinfo=zone)
    at, days = start, set()
    while at < end:
        days.add(at.astimezone(zone).date())
        at = (at.astimezone(UTC) + HOUR).astimezone(zone)

    found = slots_between(timing, start - timedelta(seconds=1), end)

    first_day_missed = (hour, minute) < (12, 0)
    last_day_missed = (hour, minute) >= (12, 0)
    assert len(found) == len(days) - (first_day_missed or last_day_missed)
    assert found == sorted(set(found))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(ZONES),
    fields_of_time,
    fields_of_date,
    st.integers(631_152_000, 2_208_988_800),  # 1990 to 2040
)
def test_latest_and_next_are_neighbours(name, times, dates, second):
    moment = datetime.fromtimestamp(second, UTC)
    timing = cron(f"{times} {dates}", timezone=name)

    latest, following = timing.latest_before(moment), timing.next_after(moment)

    assert latest is not None
    assert following is not None
    assert latest <= moment < following
    assert timing.next_after(latest) == following
    assert timing.latest_before(following) == following
    assert timing.latest_before(following - timedelta(microseconds=1)) == latest


# Intervals


@settings(deadline=None)
@given(
    st.floats(1, 1e6),
    st.timedeltas(timedelta(0), 30_000 * DAY),
    st.integers(0, 10_000),
    st.timedeltas(timedelta(0), 20 * DAY),
)
def test_an_interval_never_drifts(seconds, age, number, off):
    interval = timedelta(seconds=seconds)
    timing = every(seconds)
    anchor = NOW - age
    moment = anchor + number * interval + off

    latest = timing.latest_before(moment, anchor=anchor)
    following = timing.next_after(moment, anchor=anchor)

    assert latest is not None
    assert following is not None
    assert latest <= moment < following
    assert following - latest == interval
    assert (latest - anchor) % interval == timedelta(0)


def test_an_interval_starts_at_its_anchor():
    anchor = NOW + HOUR

    assert every(60).next_after(NOW, anchor=anchor) == anchor
    assert every(60).latest_before(NOW, anchor=anchor) is None
    assert every(60).latest_before(anchor, anchor=anchor) == anchor


def test_without_an_anchor_every_host_sees_the_same_slots():
    assert every(300).next_after(NOW) == datetime(2026, 11, 22, 18, 25, tzinfo=UTC)
    assert every(300).latest_before(NOW) == datetime(2026, 11, 22, 18, 20, tzinfo=UTC)


def test_a_naive_anchor_is_refused():
    with pytest.raises(ValueError, match="aware"):
        every(60).next_after(NOW, anchor=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "interval",
    [0, -1, 0.999, float("nan"), float("inf"), 10**400, 10 * 366 * 86_400,
     timedelta(0), timedelta(seconds=-1), timedelta.max, True, "60", None],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_an_interval_that_cannot_work_is_refused(interval):
    with pytest.raises(InvalidSchedule, match="an interval"):
        every(interval)
    if not isinstance(interval, timedelta):
        with pytest.raises(InvalidSchedule, match="an interval"):
            Every(interval)
