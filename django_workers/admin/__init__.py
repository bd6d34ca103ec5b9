"""The pages of the Django admin: 'Background tasks' and its dashboard.

Importing this package, as the admin's autodiscovery does, registers the pages with the
default site. For another one::

    from django_workers.admin import register

    register(my_site)
"""

from django.contrib import admin

from ..models import Job, Queue, Schedule, WorkerSession
from .jobs import JobAdmin
from .queues import QueueAdmin
from .schedules import ScheduleAdmin
from .workers import WorkerSessionAdmin

__all__ = [
    "JobAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "WorkerSessionAdmin",
    "register",
]


def register(site: admin.AdminSite) -> None:
    """Register all our pages with an admin site.

    Raises AlreadyRegistered as `site.register()` does.
    """
    site.register(Job, JobAdmin)
    site.register(Schedule, ScheduleAdmin)
    site.register(Queue, QueueAdmin)
    site.register(WorkerSession, WorkerSessionAdmin)


register(admin.site)
