"""Cancel, retry, run now: three ways each, allowed or refused, told and logged."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.test import Client

from django_workers import control
from django_workers.admin import JobAdmin, job_list, jobs, verbs
from django_workers.admin import bulk as bulk_page
from django_workers.admin.base import record
from django_workers.ids import uuid7
from django_workers.models import Job
from tests.admin.conftest import LogIn
from tests.admin.pages import messages_of, text_of, url
from tests.admin.rows import add_job

NOBODY = UUID("01890000-0000-7000-8000-000000000000")
# The name of the view, the permission, a status it works on, the status it leads to.
VIEWS = [
    ("job_cancel", "cancel_job", "ready", "cancelled"),
    ("job_retry", "retry_job", "failed", "ready"),
    ("job_run", "run_job", "scheduled", "ready"),
]
ACTIONS = [
    ("cancel_jobs", "cancel_job", "ready", "cancelled"),
    ("retry_jobs", "retry_job", "failed", "ready"),
    ("retry_jobs_reset", "retry_job", "cancelled", "ready"),
    ("run_jobs", "run_job", "scheduled", "ready"),
]


def status_of(job: Job) -> str:
    return str(Job.objects.values_list("status", flat=True).get(pk=job.pk))


def act(client: Client, action: str, *targets: Job, query: str = "") -> Any:
    return client.post(
        url("job_changelist") + query,
        {
            "action": action,
            "index": "0",
            "_selected_action": [str(job.pk) for job in targets],
        },
        follow=True,
    )


@pytest.mark.parametrize(("view", "permission", "before", "after"), VIEWS)
def test_the_button_does_it_with_the_permission(
    log_in: LogIn, view: str, permission: str, before: str, after: str
):
    job = add_job(before)

    response = log_in("view_job", permission).post(url(view, job.pk), follow=True)

    assert status_of(job) == after
    assert response.redirect_chain == [(url("job_change", job.pk), 302)]
    (message,) = messages_of(response)
    assert str(job.pk)[-6:] in message
    assert LogEntry.objects.get().object_id == str(job.pk)


@pytest.mark.parametrize(("view", "permission", "before", "after"), VIEWS)
def test_the_button_is_refused_without_the_permission(
    log_in: LogIn, view: str, permission: str, before: str, after: str
):
    job = add_job(before)
    others = {"view_job", "cancel_job", "retry_job", "run_job", "add_job"} - {
        permission
    }

    response = log_in(*others).post(url(view, job.pk))

    assert response.status_code == 403
    assert status_of(job) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("view", "permission", "before", "after"), VIEWS)
def test_reading_an_address_changes_nothing(
    chief: Client, view: str, permission: str, before: str, after: str
):
    job = add_job(before)

    for method in ("get", "head", "put", "delete"):
        assert getattr(chief, method)(url(view, job.pk)).status_code == 405
    assert status_of(job) == before


@pytest.mark.parametrize(("view", "permission", "before", "after"), VIEWS)
def test_a_form_of_another_site_is_refused(
    chief: Client, view: str, permission: str, before: str, after: str
):
    job = add_job(before)
    careful = Client(enforce_csrf_checks=True)
    careful.cookies = chief.cookies

    assert careful.post(url(view, job.pk)).status_code == 403
    assert status_of(job) == before


@pytest.mark.parametrize("view", [name for name, *_ in VIEWS])
def test_an_unknown_job_is_not_found(chief: Client, view: str):
    assert chief.post(url(view, NOBODY)).status_code == 404
    assert chief.post(url(view, "nonsense")).status_code == 404


@pytest.mark.parametrize(("action", "permission", "before", "after"), ACTIONS)
def test_the_action_does_it_with_the_permission(
    log_in: LogIn, action: str, permission: str, before: str, after: str
):
    rows = [add_job(before), add_job(before)]
    left = add_job(before)

    response = act(log_in("view_job", permission), action, *rows)

    assert [status_of(job) for job in rows] == [after, after]
    assert status_of(left) == before
    (message,) = messages_of(response)
    assert all(str(job.pk)[-6:] in message for job in rows)
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize(("action", "permission", "before", "after"), ACTIONS)
def test_the_action_is_neither_offered_nor_obeyed_without_the_permission(
    log_in: LogIn, action: str, permission: str, before: str, after: str
):
    job = add_job(before)
    others = {"view_job", "cancel_job", "retry_job", "run_job"} - {permission}
    client = log_in(*others)

    assert f'value="{action}"' not in client.get(url("job_changelist")).content.decode()
    act(client, action, job)

    assert status_of(job) == before


@pytest.mark.parametrize("verb", verbs.VERBS.values(), ids=lambda verb: verb.name)
def test_the_handler_checks_the_permission_itself(
    rf: Any, log_in: LogIn, verb: verbs.Verb, django_user_model: Any
):
    log_in("view_job")
    request = rf.post("/")
    request.user = django_user_model.objects.get()
    job = add_job("failed")

    with pytest.raises(PermissionDenied):
        verbs.carry_out(verb, JobAdmin(Job, admin.site), request, [job])


def test_the_filter_is_kept_after_an_action(chief: Client):
    job = add_job("failed", queue="mail")

    response = act(chief, "retry_jobs", job, query="?status=failed&queue=mail")

    assert response.redirect_chain[-1][0].endswith("?status=failed&queue=mail")


def test_what_could_not_be_done_is_told_apart(chief: Client):
    rows = {status: add_job(status) for status in ("ready", "running", "successful")}

    told = messages_of(act(chief, "cancel_jobs", *rows.values()))

    assert any("1 job was cancelled" in text for text in told)
    assert any("1 running job was asked to stop" in text for text in told)
    assert any("1 job had already finished and stays" in text for text in told)
    assert status_of(rows["successful"]) == "successful"
    assert Job.objects.get(pk=rows["running"].pk).cancel_requested_at


def test_only_what_changed_is_logged(chief: Client):
    retried, running = add_job("failed"), add_job("running")

    act(chief, "retry_jobs", retried, running)

    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username) == (str(retried.pk), "chief")
    assert entry.get_admin_url() == url("job_change", retried.pk)


def test_retry_keeps_the_counters_and_reset_clears_them(chief: Client):
    kept = add_job("failed", attempts=3, max_attempts=3)
    reset = add_job("failed", attempts=3, max_attempts=3)

    chief.post(url("job_retry", kept.pk))
    chief.post(url("job_retry", reset.pk), {"reset_attempts": "1"})

    kept.refresh_from_db()
    reset.refresh_from_db()
    assert (kept.attempts, kept.max_attempts) == (3, 4)
    assert (reset.attempts, reset.max_attempts) == (0, 3)


def test_a_reason_can_be_given_for_a_cancel(chief: Client):
    job = add_job("ready")

    chief.post(url("job_cancel", job.pk), {"reason": "ordered twice"})

    job.refresh_from_db()
    assert "ordered twice" in job.reason


@pytest.mark.parametrize(
    ("status", "logged"),
    [
        ("ready", "Cancelled: ordered twice"),
        ("running", "Asked to stop: ordered twice"),
    ],
)
def test_the_reason_of_a_cancel_is_kept_in_the_history(
    chief: Client, status: str, logged: str
):
    job = add_job(status)

    chief.post(url("job_cancel", job.pk), {"reason": "ordered twice"})

    assert logged in text_of(chief.get(url("job_history", job.pk)))


def test_it_goes_back_to_the_page_of_the_form(chief: Client):
    job = add_job("failed")

    response = chief.post(url("job_retry", job.pk), {"next": url("dashboard")})

    assert response.headers["Location"] == url("dashboard")


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "java"])
def test_it_goes_back_to_no_other_site(chief: Client, target: str):
    job = add_job("failed")

    response = chief.post(url("job_retry", job.pk), {"next": target})

    assert "evil" not in response.headers["Location"]


def test_who_may_act_but_not_view_is_not_led_to_a_closed_page(log_in: LogIn):
    job = add_job("failed")

    response = log_in("retry_job").post(url("job_retry", job.pk), follow=True)

    assert response.status_code == 200
    assert status_of(job) == "ready"


def test_jobs_pruned_meanwhile_are_told(chief: Client, monkeypatch: pytest.MonkeyPatch):
    stays, goes = add_job("failed"), add_job("failed")

    def prune_first(ids: Any, **options: Any) -> Any:
        Job.objects.filter(pk=goes.pk).delete()
        return control.retry(ids, **options)

    monkeypatch.setattr(jobs, "RETRY", replace(verbs.RETRY, call=prune_first))

    told = messages_of(act(chief, "retry_jobs", stays, goes))

    assert status_of(stays) == "ready"
    assert any("1 job no longer exists" in text for text in told)


def test_many_jobs_are_named_up_to_a_bound(chief: Client):
    rows = [add_job("failed") for _ in range(verbs.NAMED + 3)]

    (told,) = messages_of(act(chief, "retry_jobs", *rows))

    assert "13 jobs will run again" in told
    assert "and 3 more" in told


def test_a_visitor_who_is_no_stored_user_leaves_no_entry(rf: Any):
    request = rf.post("/")
    request.user = SimpleNamespace(pk=None)

    record(request, [add_job()], "Cancelled.")

    assert not LogEntry.objects.exists()


# Everything that matches


def bulk(client: Client, verb: str, query: str = "", **options: Any) -> Any:
    return client.get(f"{url('job_bulk')}?{query}&verb={verb}", **options)


def confirm(client: Client, verb: str, query: str = "", **data: str) -> Any:
    return client.post(f"{url('job_bulk')}?{query}&verb={verb}", data, follow=True)


def test_the_list_offers_the_verbs_for_all_that_matches(log_in: LogIn):
    add_job("failed")

    page = log_in("view_job", "retry_job").get(url("job_changelist") + "?status=failed")

    html = page.content.decode()
    assert "?status=failed&amp;verb=retry" in html
    assert "verb=cancel" not in html


def test_it_asks_first_and_says_how_many(chief: Client):
    rows = [add_job("failed") for _ in range(3)]
    add_job("successful")

    page = bulk(chief, "retry", "status=failed")

    assert page.status_code == 200
    assert "Jobs it changes 3" in text_of(page)
    assert {status_of(job) for job in rows} == {"failed"}


def test_it_acts_on_all_that_matches_and_nothing_else(chief: Client):
    mine = [add_job("failed", queue="mail") for _ in range(3)]
    other = add_job("failed", queue="other")
    done = add_job("successful", queue="mail")

    response = confirm(chief, "retry", "queue=mail")

    assert {status_of(job) for job in mine} == {"ready"}
    assert [status_of(other), status_of(done)] == ["failed", "successful"]
    assert response.redirect_chain[-1][0].endswith("?queue=mail")
    assert LogEntry.objects.count() == 3


def test_a_reason_can_be_given_for_all_that_matches(chief: Client):
    job = add_job(queue="mail")

    page = bulk(chief, "cancel", "queue=mail").content.decode()
    confirm(chief, "cancel", "queue=mail", reason="ordered twice")

    job.refresh_from_db()
    assert 'name="reason"' in page
    assert "Cancel these jobs" in page
    assert job.reason == "ordered twice (by chief)"
    assert LogEntry.objects.get().change_message == "Cancelled: ordered twice"
    assert 'name="reason"' not in bulk(chief, "retry").content.decode()


def test_it_acts_on_so_many_at_once(chief: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_page, "AT_ONCE", 2)
    rows = [add_job("failed") for _ in range(3)]

    page = bulk(chief, "retry", "status=failed")
    response = confirm(chief, "retry", "status=failed")

    assert "2+" in text_of(page)
    assert sum(status_of(job) == "ready" for job in rows) == 2
    assert any("There are more" in text for text in messages_of(response))


def test_it_looks_at_so_many_jobs_only(chief: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_list, "WINDOW", 2)
    old = add_job("failed")
    new = [add_job("failed"), add_job("failed")]

    confirm(chief, "retry")

    assert status_of(old) == "failed"
    assert {status_of(job) for job in new} == {"ready"}


def test_nothing_that_matches_is_said(chief: Client):
    add_job("successful")

    assert "Nothing that matches can be changed" in text_of(bulk(chief, "cancel"))
    told = messages_of(confirm(chief, "cancel"))
    assert told == ["Nothing matches any more; nothing was changed."]


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_everything_that_matches_needs_the_permission(log_in: LogIn, verb: str):
    job = add_job("failed")
    client = log_in("view_job")

    assert bulk(client, verb).status_code == 403
    assert confirm(client, verb).status_code == 403
    assert status_of(job) == "failed"


def test_an_unknown_verb_is_not_found(chief: Client):
    assert bulk(chief, "explode").status_code == 404


def test_a_form_for_all_needs_its_token(chief: Client):
    job = add_job("failed")
    careful = Client(enforce_csrf_checks=True)
    careful.cookies = chief.cookies

    assert confirm(careful, "retry").status_code == 403
    assert status_of(job) == "failed"


def test_every_answer_of_control_has_its_sentence():
    """A word that control says and we do not know would be an error page."""
    asked = [
        (verbs.CANCEL, ("ready", "running", "successful")),
        (verbs.RETRY, ("failed", "running", "successful")),
        (verbs.RUN_NOW, ("scheduled", "running", "failed")),
    ]

    for verb, statuses in asked:
        answers = verb.call([add_job(s).pk for s in statuses], **verb.options)
        assert set(answers.values()) == set(verb.answers), verb.name


def test_unknown_ids_are_an_error_of_control():
    with pytest.raises(LookupError):
        control.cancel(uuid7())
