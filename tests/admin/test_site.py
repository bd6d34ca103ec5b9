"""Our section on a site's index: titled, in order, on any AdminSite."""

import re
import subprocess
import sys

import pytest
from django.contrib import admin
from django.test import Client

from django_workers.admin import JobAdmin, register
from django_workers.admin.site import extend
from django_workers.models import Job
from tests.admin.conftest import LogIn
from tests.admin.pages import text_of, url
from tests.admin.rows import add_job
from tests.support import ROOT

SECTION = ["Task dashboard", "Tasks", "Jobs", "Schedules", "Queues", "Workers"]


def section(client: Client, *, prefix: str = "/admin/") -> list[str]:
    response = client.get(prefix)
    for app in response.context["app_list"]:
        if app["app_label"] == "django_workers":
            return [str(model["name"]) for model in app["models"]]
    return []


def test_the_index_lists_the_section_in_order(chief: Client):
    response = chief.get("/admin/")

    assert "Background tasks" in text_of(response)
    assert section(chief) == SECTION


def test_another_site_has_every_page_under_its_own_name(chief: Client):
    job = add_job("failed")

    assert section(chief, prefix="/backstage/") == SECTION
    assert url("dashboard", site="backstage") == "/backstage/django_workers/"
    assert url("stats", site="backstage") == "/backstage/django_workers/stats.json"
    page = chief.get(url("job_change", job.pk, site="backstage"))
    assert url("job_retry", job.pk, site="backstage") in page.content.decode()
    assert not re.search(r'(href|action|src)="/admin/', page.content.decode())


@pytest.mark.parametrize("name", ["dashboard", "task_changelist", "job_changelist"])
def test_pages_of_another_site_link_to_no_other(chief: Client, name: str):
    add_job("failed")
    add_job("running")

    page = chief.get(url(name, site="backstage"))

    assert page.status_code == 200
    assert not re.search(r'(href|action|src)="/admin/', page.content.decode())


def test_the_dashboard_takes_the_address_of_the_app(chief: Client):
    assert url("dashboard") == "/admin/django_workers/"
    assert text_of(chief.get("/admin/django_workers/")).startswith("Task dashboard")


def test_each_of_our_pages_links_to_the_dashboard(chief: Client):
    job = add_job("failed")
    pages = [
        url("task_changelist"),
        url("job_changelist"),
        url("job_change", job.pk),
        url("schedule_changelist"),
        url("schedule_add"),
        url("queue_changelist"),
        url("workersession_changelist"),
    ]

    for page in pages:
        html = chief.get(page).content.decode()
        assert 'href="/admin/django_workers/#content-start"' in html, page


def test_staff_without_permission_sees_no_section(log_in: LogIn):
    assert section(log_in()) == []


def test_who_may_only_view_queues_sees_only_those(log_in: LogIn):
    assert section(log_in("view_queue")) == ["Task dashboard", "Queues"]


def test_a_site_is_extended_once():
    site = admin.AdminSite(name="twice")
    register(site)
    before = len(site.get_urls())

    extend(site)

    assert len(site.get_urls()) == before


def test_a_site_may_leave_pages_out(chief: Client, rf, django_user_model):
    site = admin.AdminSite(name="small")
    site.register(Job, JobAdmin)
    request = rf.get("/")
    request.user = django_user_model.objects.get(username="chief")

    (app,) = site.get_app_list(request)

    assert [str(model["name"]) for model in app["models"]][-1] == "Jobs"


WITHOUT_ADMIN = """
import django
from django.conf import settings
from django.test.utils import override_settings
import tests.settings as base
names = {k: getattr(base, k) for k in dir(base) if k.isupper()}
names["INSTALLED_APPS"] = [
    name for name in names["INSTALLED_APPS"]
    if name not in ("django.contrib.admin", "tests")
]
names["ROOT_URLCONF"] = "django_workers.urls_of_nobody"
settings.configure(**names)
django.setup()
from django.core.management import call_command
from django.template import engines
call_command("migrate", verbosity=0)
page = "{% load django_workers_admin %}{{ 3.0|seconds }}"
print(engines["django"].from_string(page).render())
from django_workers import control
print(control.stats()["total"])
"""


def test_without_the_admin_everything_else_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ADMIN],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": f"sqlite:///{tmp_path / 'a.db'}"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "s", "0"]
