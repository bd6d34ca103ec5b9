"""What the pages show and refuse, without a worker."""

import re
import uuid
from datetime import UTC, timedelta
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from django_workers import Snooze, control
from django_workers.models import Job
from example_project.atlas.demo_login import create_demo_login
from example_project.atlas.models import Report, Subscription
from example_project.atlas.tasks import mail
from example_project.atlas.tasks.health import check_health
from example_project.atlas.tasks.imports import import_everything
from example_project.atlas.tasks.trials import ask_time_server

TEMPLATES = sorted(Path(settings.BASE_DIR, "example_project").rglob("*.html"))
# The header came with Django 6.0.
POLICY = "default-src 'self'" if django.VERSION >= (6, 0) else None
PAGES = [
    *("/", "/zones/", "/import/", "/pictures/", "/meeting/", "/reports/"),
    *("/health/", "/jobs/"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_on_an_empty_site(client, page):
    assert client.get(page).status_code == 200


@pytest.mark.parametrize("page", [*PAGES, "/zones/Europe/Berlin/", "/admin/"])
def test_a_page_works_on_a_full_site(admin_client, zones, page):
    assert admin_client.get(page).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_a_page_allows_nothing_but_its_own_files(client, page):
    assert client.get(page).get("Content-Security-Policy") == POLICY


@pytest.mark.parametrize(
    "template", TEMPLATES, ids=lambda path: f"{path.parent.stem}-{path.stem}"
)
def test_a_template_has_no_script_and_no_style_in_it(template):
    text = template.read_text()

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", text)
    assert re.findall(r"<script.*?</script>", text, re.DOTALL) == (
        re.findall(r'<script type="module" src="[^"]+"></script>', text)
    )


def test_zones_are_found_by_words_and_region(client, zones):
    found = client.get("/zones/", {"q": "new york"}).content.decode()
    regional = client.get("/zones/", {"region": "Arctic"}).content.decode()

    assert "/zones/America/New_York/" in found
    assert "/zones/Europe/Berlin/" not in found
    assert re.findall(r'href="/zones/(\w+/\w+)/"', regional) == ["Arctic/Longyearbyen"]


def test_what_is_not_there_is_not_found(client, zones):
    for url in (
        "/zones/Mars/Base/",
        "/zones/Europe/Berlin/chart.png",
        f"/jobs/{uuid.uuid4()}/",
        "/jobs/17/",
        "/reports/1.csv",
    ):
        assert client.get(url).status_code == 404, url
    for url in (f"/jobs/{uuid.uuid4()}/cancel/", f"/jobs/{uuid.uuid4()}/run-now/"):
        assert client.post(url).status_code == 404, url


@pytest.mark.django_db
def test_a_job_says_when_its_next_attempt_comes(client):
    result = ask_time_server.enqueue()
    due = timezone.now() + timedelta(minutes=3)
    Job.objects.filter(pk=result.id).update(
        status="scheduled", run_after=due, attempts=1
    )

    text = client.get(f"/jobs/{result.id}/").content.decode()

    assert "Waits until" in text
    assert f"{due.astimezone(UTC):%H:%M:%S}" in text


@pytest.mark.django_db
def test_a_check_takes_an_import_that_is_under_way_for_well(monkeypatch):
    monkeypatch.setattr(control, "health", lambda: {"status": "healthy"})
    assert check_health.call()["healthy"] is False

    import_everything()

    assert check_health.call()["healthy"] is True


def test_the_icon_is_found_where_browsers_look_for_it(client):
    answer = client.get("/favicon.ico")

    assert answer.status_code == 302
    assert finders.find(answer.url.removeprefix("/static/"))


@pytest.mark.django_db
def test_nothing_is_started_without_a_token():
    strict = Client(enforce_csrf_checks=True)

    for url in ("/trials/fail/", "/import/start/", "/health/check/", "/meeting/"):
        assert strict.post(url).status_code == 403, url
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("page", "form", "complaint"),
    [
        ("/meeting/", {"first": "Atlantis"}, "There is no zone “Atlantis”."),
        ("/meeting/", {"day": "9999-12-31"}, "less than or equal to"),
        ("/reports/", {"title": "x", "days": 0}, "greater than or equal to 1"),
        ("/zones/Europe/Berlin/subscribe/", {"email": "ada"}, "valid email address"),
    ],
)
def test_a_form_says_what_is_wrong_and_enqueues_nothing(
    client, zones, page, form, complaint
):
    answer = client.post(page, form)

    assert answer.status_code == 422
    assert complaint in answer.content.decode()
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_view_that_fails_after_enqueueing_leaves_no_job_and_no_row(
    client, monkeypatch
):
    from example_project.atlas.views import reports

    def fail(*arguments):
        assert Job.objects.filter(task="report:changes").exists()
        raise RuntimeError("too late")

    monkeypatch.setattr(reports, "redirect", fail)

    with pytest.raises(RuntimeError, match="too late"):
        client.post("/reports/", {"title": "Never", "days": 7})

    assert (Job.objects.count(), Report.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_waits_for_the_commit_does_not_come_when_that_fails(
    client, zones, monkeypatch
):
    from example_project.atlas.views import mail as view

    def fail(*arguments):
        raise RuntimeError("too late")

    monkeypatch.setattr(view, "redirect", fail)

    with pytest.raises(RuntimeError, match="too late"):
        client.post("/zones/Asia/Tokyo/subscribe/", {"email": "ada@example.com"})

    assert (Job.objects.count(), Subscription.objects.count()) == (0, 0)


@pytest.mark.django_db
def test_the_mail_task_uses_the_service_it_is_given(tokyo, monkeypatch):
    sent = []

    class Postman:
        def send_almanac(self, zone, *, to, changes):
            sent.append((zone.city, to, list(changes)))
            return "sent"

    monkeypatch.setattr(mail, "service", Postman())
    reader = Subscription.objects.create(email="ada@example.com", zone=tokyo)

    assert mail.send_almanac.call(reader.pk) == "sent"
    assert sent == [("Tokyo", "ada@example.com", [])]


@pytest.mark.django_db
def test_the_mail_task_waits_for_the_zone_to_be_imported(zones):
    reader = Subscription.objects.create(email="ada@example.com", zone_id="Asia/Tokyo")

    with pytest.raises(Snooze):
        mail.send_almanac.call(reader.pk)


@pytest.mark.django_db
def test_the_outbox_is_shown_under_debug_only(client, settings, outbox):
    settings.OUTBOX_DIR.mkdir()
    (settings.OUTBOX_DIR / "1.log").write_text(
        f"To: ada@example.com\nSubject: Hello\n\nHow are you?\n{'-' * 79}\n"
    )

    assert client.get("/outbox/").status_code == 404
    settings.DEBUG = True
    text = client.get("/outbox/").content.decode()

    assert all(word in text for word in ("ada@example.com", "Hello", "How are you?"))


LOGIN = "example_project.atlas.demo_login.DemoLogin"


@pytest.mark.django_db
def test_the_demo_login_works_under_debug_only(client, settings):
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, LOGIN]
    settings.DEBUG = True
    create_demo_login()

    assert client.login(username="demo", password="demo")
    assert client.get("/admin/").status_code == 200
    assert not client.login(username="demo", password="guess")
    settings.DEBUG = False
    assert not client.login(username="demo", password="demo")


@pytest.mark.django_db
def test_the_demo_login_of_another_day_is_worth_nothing_without_debug(client, settings):
    """The account stays in the database; its sessions and its password do not count."""
    settings.DEBUG = True
    client.force_login(create_demo_login(), backend=LOGIN)
    settings.DEBUG = False

    assert client.get("/admin/").status_code == 302
    assert not client.login(username="demo", password="demo")


@pytest.mark.django_db
def test_the_demo_login_is_not_created_without_debug(django_user_model):
    with pytest.raises(CommandError, match="under DEBUG only"):
        call_command("create_demo_login")

    assert not django_user_model.objects.exists()


@pytest.mark.django_db
def test_the_demo_login_takes_nobodys_account(django_user_model, settings):
    django_user_model.objects.create_user("demo", password="my own")
    settings.DEBUG = True

    with pytest.raises(CommandError, match="with its own password"):
        call_command("create_demo_login")


@pytest.mark.django_db
def test_the_sample_is_loaded_into_an_empty_site_only():
    call_command("load_sample", verbosity=0)
    jobs = Job.objects.count()
    call_command("load_sample", verbosity=0)

    assert jobs == Job.objects.count() > 30


@pytest.mark.django_db
def test_the_models_have_their_migrations():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
