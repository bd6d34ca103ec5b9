"""Each thing the site does, from the form to the result, with a real worker."""

import csv
import io
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.utils import timezone

from django_workers.models import Attempt, Job, Schedule
from example_project.atlas import catalogue, png
from example_project.atlas.models import (
    HealthReport,
    Picture,
    Report,
    Subscription,
    Transition,
    Zone,
)
from tests.support import wait_until

FINISHED = "successful"


def job_of(answer) -> Job:
    """Return the job whose page an answer leads to."""
    return Job.objects.get(pk=answer.url.rstrip("/").rpartition("/")[2])


@pytest.mark.django_db(transaction=True)
def test_the_file_is_imported_in_chunks_and_twice_is_as_good_as_once(
    client, shows, worker
):
    client.post("/import/start/")
    shows("/import/", "all there")
    counted = Transition.objects.count(), Zone.objects.count()
    assert counted == (catalogue.transition_count(), len(catalogue.zones()))

    client.post("/import/start/")
    wait_until(lambda: not Job.objects.unfinished().exists())

    assert (Transition.objects.count(), Zone.objects.count()) == counted
    assert not Job.objects.exclude(status="successful").exists()


@pytest.mark.django_db(transaction=True)
def test_an_import_may_begin_with_empty_tables(client, zones, shows, worker):
    Zone.objects.create(name="Mars/Base", country="", latitude=0, longitude=0)

    client.post("/import/start/", {"again": "yes"})
    shows("/import/", "all there")

    assert not Zone.objects.filter(name="Mars/Base").exists()


@pytest.mark.django_db(transaction=True)
def test_a_sync_view_has_a_picture_drawn_and_its_thumbnail_made(
    client, zones, shows, worker
):
    answer = client.post("/zones/Europe/Berlin/draw/")

    shows(answer.url, FINISHED, "/zones/Europe/Berlin/chart.png")
    thumbnail = job_of(answer).result["thumbnail_job"]
    shows(f"/jobs/{thumbnail}/", FINISHED)
    small = b"".join(client.get("/zones/Europe/Berlin/thumbnail.png").streaming_content)
    large = b"".join(client.get("/zones/Europe/Berlin/chart.png").streaming_content)
    assert png.decode(small) == png.shrink(png.decode(large), factor=4)


@pytest.mark.django_db(transaction=True)
def test_a_dozen_pictures_are_enqueued_at_once(client, zones, shows, worker):
    client.post("/pictures/draw/")

    shows("/pictures/", "Lord Howe", "Longyearbyen", deadline=30)
    wait_until(lambda: not Job.objects.unfinished().exists(), deadline=30)
    assert Picture.objects.exclude(thumbnail="").count() == 12


@pytest.mark.django_db(transaction=True)
def test_an_async_view_enqueues_a_coroutine(zones, shows, worker):
    form = {"day": "2026-07-01", "first": "Europe/Berlin", "second": "Asia/Tokyo"}
    head = '<th scope="col">Europe/Berlin</th><th scope="col">Asia/Tokyo</th>'

    answer = async_to_sync(AsyncClient().post)("/meeting/", form)

    shows(answer.url, FINISHED, "Best at 07:00 UTC", "Wed 09:00", "Wed 16:00", head)


@pytest.mark.django_db(transaction=True)
def test_a_report_waits_an_hour_unless_it_is_hastened(client, zones, shows, worker):
    change = Transition.objects.create(
        zone_id="Europe/Berlin",
        at=timezone.now() + timedelta(days=3),
        offset_before=3600,
        offset_after=7200,
        abbreviation="CEST",
    )
    asked_at = timezone.now()

    answer = client.post("/reports/", {"title": "Soon", "days": 7})

    shows(answer.url, "scheduled", "Waits until")
    delay = job_of(answer).run_after - asked_at
    assert timedelta(minutes=59) < delay < timedelta(minutes=61)
    shows("/reports/", f'href="{answer.url}"', f'action="{answer.url}run-now/"')
    client.post(f"{answer.url}run-now/")
    shows(answer.url, FINISHED, "1 change found")
    text = client.get(f"/reports/{Report.objects.get().pk}.csv").content.decode()
    assert list(csv.reader(io.StringIO(text)))[1:] == [
        [change.at.isoformat(), "Europe/Berlin", "60", "CEST"]
    ]


@pytest.mark.django_db(transaction=True)
def test_a_subscriber_is_written_to_once_the_subscription_is_committed(
    client, tokyo, outbox, worker
):
    answer = client.post(
        "/zones/Asia/Tokyo/subscribe/", {"email": "ada@example.com"}, follow=True
    )

    assert "A message to ada@example.com is on its way." in answer.content.decode()
    (mail,) = wait_until(outbox)
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "The clocks of Tokyo")
    assert "They do not, as far as anybody has decided." in mail.get_content()


@pytest.mark.django_db(transaction=True)
def test_who_has_left_again_is_not_written_to(client, zones, outbox, worker):
    from example_project.atlas.tasks.mail import send_almanac

    gone = Subscription.objects.create(email="x@example.com", zone_id="Asia/Tokyo")
    pk = gone.pk
    gone.delete()

    result = send_almanac.enqueue(pk).wait(timeout=15)

    assert (result.job_status, result.reason) == (
        "cancelled",
        "the subscription is gone",
    )
    assert outbox() == []


@pytest.mark.django_db(transaction=True)
def test_the_health_is_checked_by_hand(client, shows, worker):
    answer = client.post("/health/check/")

    shows(answer.url, FINISHED, "Something is missing")
    shows("/health/", "queue: healthy", "changes imported: 0 of 4576", "not well")
    client.post("/import/start/")
    shows("/import/", "all there")
    answer = client.post("/health/check/")
    shows(answer.url, FINISHED, "All is well")


@pytest.mark.django_db(transaction=True)
def test_the_health_is_checked_by_the_clock(worker):
    schedule = wait_until(Schedule.objects.filter(task="health:check").first)
    assert schedule.cron == "*/10 * * * *"

    # As if its latest slot were still to come.
    Schedule.objects.update(next_fire_at=schedule.timing.latest_before(timezone.now()))

    wait_until(HealthReport.objects.exists)
    assert Job.objects.get(task="health:check").schedule == schedule


@pytest.mark.django_db(transaction=True)
def test_a_job_that_fails_shows_why_and_alerts_the_admins(
    client, outbox, shows, worker
):
    answer = client.post("/trials/fail/")

    shows(answer.url, "failed", "atlas.models.Zone.DoesNotExist")
    (mail,) = wait_until(outbox)
    assert (mail["To"], mail["Subject"]) == (
        "admin@example.com",
        "[Atlas] trial:fail has failed",
    )
    assert "matching query does not exist" in mail.get_content()


@pytest.mark.django_db(transaction=True)
def test_a_job_is_tried_again_until_it_succeeds_and_nobody_is_alerted(
    client, outbox, shows, worker
):
    answer = client.post("/trials/retry/")

    shows(answer.url, FINISHED, "Answered at call number 3", "builtins.ConnectionError")
    worker.wait_for_output("INFO trial:retry took")
    assert outbox() == []


@pytest.mark.django_db(transaction=True)
def test_a_voyage_is_called_back(client, zones, shows, worker):
    answer = client.post("/trials/sail/")
    shows(answer.url, "running")

    client.post(f"{answer.url}cancel/")

    shows(answer.url, "cancelled", "called back at Pacific/")


@pytest.mark.django_db(transaction=True)
def test_a_voyage_makes_way_for_a_stopping_worker_at_no_charge(
    client, zones, shows, worker
):
    answer = client.post("/trials/sail/")
    shows(answer.url, "running")

    assert worker.stop() == 0

    job = job_of(answer)
    assert (job.status, job.attempts) == ("scheduled", 0)
    assert Attempt.objects.get(job=job).outcome == "snoozed"


@pytest.mark.django_db(transaction=True)
def test_the_concurrency_comes_from_the_environment(run_worker):
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.example.settings",
        "JOB_CONCURRENCY": "2",
    }

    with run_worker(env=environment) as from_environment:
        assert "2 slots" in from_environment.output()
    with run_worker("--concurrency", "3", env=environment) as from_flag:
        assert "3 slots" in from_flag.output()


@pytest.mark.django_db(transaction=True)
def test_the_pages_say_the_same_to_those_without_javascript(zones, shows, worker):
    plain = Client()

    answer = plain.post("/trials/sail/")

    text = plain.get(answer.url).content.decode()
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in text
    plain.post(f"{answer.url}cancel/")
    shows(answer.url, "cancelled")
    assert "http-equiv" not in plain.get(answer.url).content.decode()
