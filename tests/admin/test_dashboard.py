"""The dashboard: the figures, for each what it links to, and as JSON."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from django_workers import control
from django_workers.admin import dashboard
from django_workers.models import JobStatus
from tests.admin.conftest import LogIn
from tests.admin.pages import text_of, url
from tests.admin.rows import add_job, add_rollup, add_schedule, add_worker


def show(client: Client) -> Any:
    return client.get(url("dashboard"))


def tiles(client: Client) -> dict[str, Any]:
    return {tile["name"]: tile for tile in show(client).context["figures"]}


def test_there_is_one_figure_per_key_of_the_stats(chief: Client):
    for status in JobStatus.values:
        add_job(status)
    add_job("failed")

    shown = {name: tile["value"] for name, tile in tiles(chief).items()}

    wanted = {k: v for k, v in control.stats().items() if not k.startswith("by_")}
    assert shown == wanted


def test_each_figure_links_to_the_list_it_counts(chief: Client):
    for status in JobStatus.values:
        add_job(status)

    for tile in tiles(chief).values():
        found = chief.get(tile["url"]).context["cl"].result_list
        assert len(found) == tile["value"], tile["name"]


def test_a_figure_that_was_not_counted_to_the_end_says_so(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dashboard, "COUNTED", 2)
    for _ in range(4):
        add_job("failed")

    assert "2+ failed" in text_of(show(chief))
    assert "2+ total" in text_of(show(chief))


def test_the_queues_tell_depth_age_and_pause(chief: Client):
    add_job(queue="mail")
    for status in ("scheduled", "scheduled", "blocked"):
        add_job(status, queue="mail")
    add_job("running", queue="images")
    control.pause("mail", by="ada")

    text = text_of(show(chief))

    assert "mail paused 1 0 2 1 5 min" in text
    assert "images open 0 1 0 0" in text


def test_living_workers_are_shown_and_silent_ones_marked(chief: Client):
    then = timezone.now() - timedelta(minutes=2)
    add_worker()
    add_worker(worker_id="silent", heartbeat_at=then, lease_until=then)
    add_worker(worker_id="ended", state="stopped", stopped_at=then)

    text = text_of(show(chief))

    assert "w-1 running 3/10" in text
    assert "silent running stale" in text
    assert "ended" not in text
    assert "No worker is running" not in text


@pytest.mark.parametrize("silent", [False, True])
def test_without_a_living_worker_it_says_how_to_start_one(chief: Client, silent: bool):
    if silent:
        then = timezone.now() - timedelta(minutes=2)
        add_worker(heartbeat_at=then, lease_until=then)

    assert "No worker is running: python manage.py runworkers" in text_of(show(chief))


def test_the_next_schedules_are_shown(chief: Client):
    later = add_schedule(name="later", cron="@yearly")
    sooner = add_schedule(name="sooner", cron="* * * * *")
    add_schedule(name="off", enabled=False)

    assert show(chief).context["fires"] == [sooner, later]


def test_failures_have_a_retry_button_that_comes_back(chief: Client):
    jobs = [add_job("failed") for _ in range(12)]
    page = show(chief)

    assert len(page.context["failures"]) == 10
    shown = page.context["failures"][0]
    assert f'action="{url("job_retry", shown.pk)}"' in page.content.decode()
    response = chief.post(
        url("job_retry", shown.pk), {"next": page.context["back_url"]}
    )
    assert response.headers["Location"] == url("dashboard")
    assert len(jobs) == 12


def test_running_jobs_have_a_cancel_button_until_they_were_asked(chief: Client):
    running = add_job("running")
    asked = add_job("running", cancel_requested_at=timezone.now())

    html = show(chief).content.decode()

    assert f'action="{url("job_cancel", running.pk)}"' in html
    assert f'action="{url("job_cancel", asked.pk)}"' not in html


def test_the_chart_has_words_and_a_table(chief: Client):
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=3)
    add_rollup(minute=minute, count=1234)
    add_rollup(minute=minute, outcome="failed", count=5)

    page = show(chief)

    text = text_of(page)
    assert "1,234 succeeded and 5 failed" in text
    assert f"{minute:%H:%M} 1,234 5" in text
    html = page.content.decode()
    assert 'role="img" aria-labelledby="dw-svg-title dw-svg-desc"' in html
    assert html.count('<rect class="dw-bar-good"') == 1
    assert html.count('<rect class="dw-bar-bad"') == 1


def test_numbers_in_the_drawing_are_not_localized(chief: Client):
    add_rollup(count=3)
    add_rollup(outcome="failed", count=1)

    with translation.override("de"):
        html = show(chief).content.decode()

    assert not re.search(r'(x|y|width|height)="\d+,\d', html)


def test_wait_and_run_times_are_shown(chief: Client):
    add_job("successful", duration=2.0)

    text = text_of(show(chief))

    assert "wait 1 min 1 min" in text
    assert "run 2 s 2 s" in text


def test_it_counts_nothing_without_a_bound(chief: Client):
    for status in JobStatus.values:
        add_job(status)
    show(chief)

    with CaptureQueriesContext(connection) as log:
        show(chief)

    assert len(log) <= 25
    for entry in log:
        sql = entry["sql"]
        if re.search(r"COUNT\(", sql) and "django_workers_job" in sql:
            assert sql.count("COUNT(") <= sql.count("LIMIT"), sql


def test_its_queries_do_not_grow_with_the_rows(chief: Client):
    add_job("failed")
    add_job("running")
    add_job()
    add_worker()
    add_schedule()
    with CaptureQueriesContext(connection) as few:
        show(chief)
    for number in range(5):
        for status in JobStatus.values:
            add_job(status, queue=f"q{number}", priority=number)
        add_worker()
        add_schedule(name=f"s{number}")

    with CaptureQueriesContext(connection) as many:
        show(chief)

    assert len(many) == len(few)


def test_the_live_part_is_the_same_and_nothing_else(chief: Client):
    job = add_job("failed")

    live = chief.get(url("live"))

    html = live.content.decode()
    assert url("job_retry", job.pk) in html
    assert "csrfmiddlewaretoken" in html
    assert "<html" not in html
    assert text_of(live) in text_of(show(chief))


def test_the_json_names_what_runs_what_failed_and_what_fires_next(chief: Client):
    failed, running = add_job("failed", reason="no luck"), add_job("running")
    schedule = add_schedule(name="nightly", enabled=True)

    figures = chief.get(url("stats")).json()

    (failure,), (runs,), (fire,) = (
        figures["failures"],
        figures["running_jobs"],
        figures["fires"],
    )
    assert (failure["id"], failure["reason"]) == (str(failed.id), "no luck")
    assert (runs["id"], runs["task"]) == (str(running.id), running.task)
    assert (fire["name"], fire["task"]) == ("nightly", schedule.task)
    assert fire["next_fire_at"]


def test_the_same_figures_come_as_json(chief: Client):
    for status in JobStatus.values:
        add_job(status)
    add_worker()
    add_rollup()

    answer = chief.get(url("stats"))

    assert answer.headers["Content-Type"] == "application/json"
    figures = answer.json()
    wanted = {k: v for k, v in control.stats().items() if not k.startswith("by_")}
    assert {name: figures[name] for name in wanted} == wanted
    assert figures["by_status"]["failed"] == 1
    assert "default" in [queue["name"] for queue in figures["queues"]]
    assert figures["workers"][0]["worker_id"] == "w-1"
    assert figures["throughput"][-1]["successful"] == 7
    assert set(figures["timings"]) == {"wait_p50", "wait_p95", "run_p50", "run_p95"}


ADDRESSES = ["dashboard", "live", "stats"]
PARTS = {
    "view_job": ("Jobs that failed last", "pending"),
    "view_queue": ("Oldest waits", "queues"),
    "view_workersession": ("No worker is running", "workers"),
    "view_schedule": ("Next schedules", "fires"),
}


@pytest.mark.parametrize("permission", PARTS)
def test_each_part_needs_its_permission(log_in: LogIn, permission: str):
    add_job()
    client = log_in(permission)

    text, figures = text_of(show(client)), client.get(url("stats")).json()

    for name, (words, key) in PARTS.items():
        assert (words in text) == (name == permission), name
        assert key is None or (key in figures) == (name == permission), name


@pytest.mark.parametrize("name", ADDRESSES)
def test_staff_that_may_see_nothing_is_refused(log_in: LogIn, name: str):
    assert log_in("retry_job").get(url(name)).status_code == 403


@pytest.mark.parametrize("name", ADDRESSES)
def test_strangers_are_asked_to_log_in(name: str):
    response = Client().get(url(name))

    assert response.status_code == 302
    assert "/admin/login/" in response.headers["Location"]


@pytest.mark.parametrize("name", ADDRESSES)
def test_nothing_is_changed_here(chief: Client, name: str):
    assert chief.post(url(name)).status_code == 405


def test_viewers_get_no_buttons(log_in: LogIn):
    add_job("failed")
    add_job("running")

    html = show(log_in("view_job")).content.decode()

    assert "/retry/" not in html
    assert "/cancel/" not in html
