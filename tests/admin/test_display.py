"""How values look."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.template import Context, Template
from django.utils import timezone, translation

from django_workers.models import AttemptOutcome, JobStatus, SessionState
from django_workers.templatetags import django_workers_admin as show


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "< 1 ms"),
        (0.0123, "12 ms"),
        (1, "1 s"),
        (1.56, "1.6 s"),
        (12.4, "12 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (-3, "< 1 ms"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str):
    assert show.seconds(seconds) == text


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (timedelta(), "now"),
        (timedelta(seconds=-30), "30 s ago"),
        (timedelta(minutes=-5, seconds=-59), "5 min ago"),
        (timedelta(days=-3), "3 d ago"),
        (timedelta(hours=2, seconds=5), "in 2 h"),
    ],
)
def test_instants_tell_how_far_they_are(distance: timedelta, text: str):
    shown = show.ago(timezone.now() + distance)

    assert f">{text}</time>" in shown
    assert 'datetime="' in shown
    assert 'title="' in shown


def test_instants_are_shown_on_the_viewers_clock():
    instant = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

    with timezone.override("Asia/Tokyo"):
        assert "12:04:05" in show.moment(instant)
        assert show.clock(instant) == "12:04"
    assert 'datetime="2030-01-02T03:04:05.000+00:00"' in show.moment(instant)


def test_naive_instants_are_shown_too(settings):
    settings.USE_TZ = False

    assert "now" in show.ago(datetime.now())  # noqa: DTZ005 - as without USE_TZ
    assert "03:04:05" in show.moment(datetime(2030, 1, 2, 3, 4, 5))  # noqa: DTZ001


def test_no_instant_is_a_dash():
    assert show.ago(None) == show.moment(None) == show.NOTHING


@pytest.mark.parametrize(
    "word", sorted({*JobStatus.values, *AttemptOutcome.values, *SessionState.values})
)
def test_every_status_has_a_word_beside_its_colour(word: str):
    assert show.tone(word) in {"good", "bad", "warn", "busy", "wait", "calm"}
    assert str(show._WORDS[word]) in show.pill(word)


def test_an_unknown_word_is_escaped():
    assert "&lt;b&gt;" in show.pill("<b>")


@pytest.mark.parametrize(
    ("priority", "text"),
    [
        (100, "100 critical"),
        (75, "75 critical"),
        (25, "25 high"),
        (0, "0 normal"),
        (-1, "-1 low"),
        (-100, "-100 low"),
        (None, "\N{EN DASH}"),
    ],
)
def test_a_priority_tells_its_level(priority: int | None, text: str):
    assert show.level(priority) == text


def test_figures_have_separators_and_say_where_counting_stopped():
    assert show.figure(1234567) == "1,234,567"
    assert show.figure(100_001, 100_000) == "100,000+"
    assert show.figure(None) == show.NOTHING
    with translation.override("de"):
        assert show.figure(1234567) == "1.234.567"


def test_a_short_id_shows_both_ends():
    job_id = UUID("01999999-0000-7000-8000-00000000abcd")

    assert show.short_id(job_id) == "01999999\N{HORIZONTAL ELLIPSIS}00abcd"


def test_names_may_wrap_and_are_escaped():
    assert show.breakable("a.b:c<") == "a.<wbr>b:<wbr>c&lt;"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSPHRASE",
        "client_secret",
        "csrf-token",
        "api_key",
        "Authorization",
        "set-cookie",
        "sessionid",
        "card_number",
        "ssn",
    ],
)
def test_private_names_hide_their_values(name: str):
    assert show.masked({name: "x"}) == {name: show.HIDDEN}
    assert show.masked({"a": [{name: {"deep": 1}}]}) == {"a": [{name: show.HIDDEN}]}


def test_other_names_and_empty_values_are_shown():
    value = {"name": "Ada", "password": "", "token": None, "rows": [1, "two"]}

    assert show.masked(value) == value


def test_a_nonce_is_written_only_where_there_is_one():
    template = Template("{% load django_workers_admin %}<x{% dw_nonce %}>")

    assert template.render(Context()) == "<x>"
    assert template.render(Context({"csp_nonce": "abc"})) == '<x nonce="abc">'
