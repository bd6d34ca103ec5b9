"""System checks: what `manage.py check` says of the settings, each with its fix.

==== ===========================================================================
E001 a mistake in `DJANGO_WORKERS`
E002 an unknown key in ``TASKS[alias]["OPTIONS"]``
E003 an impossible value there, or in its `QUEUES`
E004 its `DATABASE` is not in `DATABASES`
E005 a back-off that cannot be called with (exception, task_result)
E006 ``"django_workers"`` is not in `INSTALLED_APPS`
E007 `USE_TZ` is off
E008 `TIME_ZONE` of a database that is not PostgreSQL
E009 an entry of `SCHEDULES` cannot work
E010 an entry of `SCHEDULES` names a task that is not declared
E011 the database server is too old (only with ``check --database``)
E012 a module of tasks cannot be imported
E013 a carrier cannot be imported, or is none
E014 `LISTENER` is no connection string (on PostgreSQL)
W001 SQLite is not set up for several processes
W002 PostgreSQL through psycopg2: workers poll
W003 tasks in modules that a worker does not import
W004 SQLite in memory, which no other process can see
W005 a database that nobody has tried
W006 a queue of workers that no backend takes jobs for
I001 retries without jitter (only with ``check --deploy``)
I002 timeouts of tasks that run in threads (only with ``check --deploy``)
==== ===========================================================================

All carry the tag ``tasks``. Nothing here opens a connection but E011.
"""

from .backends import check_backend, check_queues
from .databases import check_database_servers, check_databases
from .settings import check_settings
from .tasks import check_jitter, check_tasks, check_timeouts

__all__ = [
    "check_backend",
    "check_database_servers",
    "check_databases",
    "check_jitter",
    "check_queues",
    "check_settings",
    "check_tasks",
    "check_timeouts",
]
