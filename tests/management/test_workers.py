import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from django_workers import control
from django_workers.management.arguments import EXIT_CODES
from django_workers.management.commands.workers import Command as WorkersCommand
from django_workers.management.tables import duration, table
from django_workers.models import (
    Attempt,
    Job,
    JobStatus,
    Queue,
    Schedule,
    WorkerSession,
)
from tests import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def workers(capsys):
    """Run `workers` with these words; its output, and its exit code beside it."""

    def run(*words: str) -> tuple[str, int]:
        code = 0
        try:
            call_command("workers", *words)
        except SystemExit as error:
            code = int(error.code or 0)
        except CommandError as error:
            return str(error), error.returncode
        return capsys.readouterr().out, code

    return run


def as_json(output: tuple[str, int]) -> Any:
    return json.loads(output[0])


def end(job_id: str, status: JobStatus) -> None:
    """Put a job where a worker would have put it."""
    Job.objects.filter(id=job_id).update(status=status, finished_at=timezone.now())


def test_jobs_lists_what_the_filters_leave(workers):
    tasks.noop.enqueue()
    wanted = tasks.add.using(queue_name="sums").enqueue(1, 2)

    for words in (["--queue", "sums"], ["--task", "tests.tasks.add"]):
        rows = as_json(workers("jobs", "--format", "json", *words))

        assert [row["id"] for row in rows] == [wanted.id]


def test_jobs_shows_the_newest_first_up_to_the_limit(workers):
    results = tasks.noop.enqueue_many([((), {})] * 3)

    rows = as_json(workers("jobs", "--limit", "2", "--format", "json"))

    assert [row["id"] for row in rows] == [results[2].id, results[1].id]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_list_that_ends_at_its_limit_says_so_beside_it(form, capsys):
    tasks.noop.enqueue_many([((), {})] * 3)

    said = {}
    for limit in ("2", "3"):
        call_command("workers", "jobs", "--limit", limit, "--format", form)
        said[limit] = capsys.readouterr().err

    assert said == {"2": "There are more than these 2: --limit shows more.\n", "3": ""}


def test_jobs_knows_waiting_as_a_status(workers):
    waiting, ended = tasks.noop.enqueue(), tasks.noop.enqueue()
    end(ended.id, JobStatus.FAILED)

    text, code = workers("jobs", "--status", "waiting")

    assert waiting.id in text
    assert ended.id not in text
    assert code == 0


def test_a_limit_below_one_is_refused(workers):
    assert workers("jobs", "--limit", "0")[1] == 2


def test_show_tells_the_attempts_with_their_tracebacks(workers):
    result = tasks.add.enqueue(1, b=2)
    Attempt.objects.create(
        job_id=uuid.UUID(result.id),
        number=1,
        epoch=1,
        outcome="failed",
        exception="builtins.ValueError",
        traceback="Traceback ...\nValueError: no\n",
        finished_at=timezone.now(),
    )

    text, code = workers("show", result.id)
    values = as_json(workers("show", result.id, "--format", "json"))

    assert code == 0
    assert "ValueError: no" in text
    assert "[1]" in text
    assert values["attempt_rows"][0]["outcome"] == "failed"


@pytest.mark.parametrize("job_id", ["nonsense", str(uuid.uuid4())])
def test_an_id_no_job_has_is_wrong_usage(workers, job_id):
    for verb in ("show", "cancel", "retry", "run-now"):
        text, code = workers(verb, job_id)

        assert code == 2
        assert job_id in text


def test_stats_has_the_agreed_keys(workers):
    tasks.noop.enqueue()

    values = as_json(workers("stats", "--format", "json"))

    assert {"pending", "running", "completed", "failed", "cancelled", "total"} <= set(
        values
    )
    assert values["pending"] == 1
    assert "pending" in workers("stats")[0]


def test_stats_count_all_unless_limited(capsys):
    tasks.noop.enqueue_many([((), {})] * 4)
    end(tasks.noop.enqueue().id, JobStatus.FAILED)

    said = {}
    for words in ((), ("--limit", "2"), ("--limit", "4")):
        call_command("workers", "stats", "--format", "json", *words)
        out, err = capsys.readouterr()
        said[words] = (json.loads(out)["by_status"]["ready"], err)

    assert said == {
        (): (4, ""),
        ("--limit", "2"): (
            3,
            "Counted up to 2 of each status; there are more: ready.\n",
        ),
        ("--limit", "4"): (4, ""),
    }


def test_status_counts_up_to_a_bound_and_says_so(workers, monkeypatch):
    monkeypatch.setattr("django_workers.stats.COUNTED", 2)
    tasks.noop.enqueue_many([((), {})] * 4)

    values = as_json(workers("status", "--format", "json"))

    assert (values["counts"]["ready"], values["counted_up_to"]) == (3, 2)
    assert "Jobs: 2+ ready." in workers("status")[0]


def test_health_fails_when_work_waits_and_no_worker_lives(workers):
    tasks.noop.enqueue()

    text, code = workers("health")

    assert "unhealthy" in text
    assert code == 1


def test_status_names_the_command_when_no_worker_runs(workers):
    text, code = workers("status")

    assert "python manage.py runworkers" in text
    assert code == 0
    assert as_json(workers("status", "--format", "json"))["workers"] == []


def test_cancel_ends_waiting_jobs_and_keeps_the_reason(workers):
    result = tasks.noop.enqueue()

    answers = as_json(
        workers("cancel", result.id, "--reason", "not now", "--format", "json")
    )

    job = Job.objects.get(id=result.id)
    assert answers == {result.id: "cancelled"}
    assert job.status == JobStatus.CANCELLED
    assert job.reason.startswith("not now")


def test_what_was_left_alone_shows_in_the_exit_code(workers):
    result = tasks.noop.enqueue()
    end(result.id, JobStatus.SUCCESSFUL)

    text, code = workers("cancel", result.id)

    assert "finished first" in text
    assert code == 1


def test_retry_by_filter_takes_every_job_that_matches(workers):
    results = tasks.noop.enqueue_many([((), {})] * 2)
    for result in results:
        end(result.id, JobStatus.FAILED)

    text, code = workers("retry", "--status", "failed", "--reset-attempts")

    assert code == 0
    assert text.count("retried") == 2
    assert Job.objects.ready().count() == 2


@pytest.mark.parametrize(
    ("verb", "status", "answer"),
    [
        ("cancel", JobStatus.CANCELLED, "cancelled"),
        ("retry", JobStatus.READY, "retried"),
        ("run-now", JobStatus.READY, "ready"),
    ],
    ids=["cancel", "retry", "run-now"],
)
def test_filters_take_all_that_match_in_chunks(
    workers, monkeypatch, verb, status, answer
):
    monkeypatch.setattr("django_workers.control.targets.CHUNK", 25)
    due = timedelta(hours=1 if verb == "run-now" else 0)
    results = tasks.noop.using(run_after=due).enqueue_many([((), {})] * 60)
    other = tasks.noop.using(queue_name="other", run_after=due).enqueue()
    if verb == "retry":
        for result in [*results, other]:
            end(result.id, JobStatus.FAILED)

    text, code = workers(verb, "--queue", "default")

    assert code == 0
    # So many are counted, not listed.
    assert [line.split() for line in text.splitlines()] == [
        ["answer", "jobs"],
        [answer, "60"],
    ]
    assert Job.objects.filter(queue="default", status=status).count() == 60
    assert not Job.objects.filter(id=other.id, status=status).exists()


def test_with_a_limit_a_verb_says_how_many_are_left(capsys):
    results = tasks.noop.enqueue_many([((), {})] * 5)

    said = []
    for limit in ("2", "3"):
        call_command(
            *("workers", "cancel", "--task", "tests.tasks.noop"),
            *("--limit", limit, "--format", "json"),
        )
        said.append(capsys.readouterr())

    assert set(json.loads(said[0].out)) == {result.id for result in results[3:]}
    assert set(json.loads(said[1].out)) == {result.id for result in results[:3]}
    assert [each.err for each in said] == [
        "Left as they were: 3 more that match.\n",
        "",
    ]


@pytest.mark.parametrize("verb", ["cancel", "retry", "run-now"])
def test_filters_leave_out_what_a_verb_cannot_change(workers, verb):
    due = timedelta(hours=1)
    ended, wanted = tasks.noop.using(run_after=due).enqueue_many([((), {})] * 2)
    end(ended.id, JobStatus.SUCCESSFUL)
    if verb == "retry":
        end(wanted.id, JobStatus.FAILED)

    answers, code = workers(verb, "--queue", "default", "--format", "json")

    assert (list(json.loads(answers)), code) == ([wanted.id], 0)
    # Asked for by name, it is answered for.
    assert workers(verb, "--status", "successful")[1] == 1


@pytest.mark.parametrize("words", [[], [str(uuid.uuid4()), "--queue", "x"]])
def test_acting_needs_either_ids_or_filters(workers, words):
    assert workers("cancel", *words)[1] == 2


def test_run_now_makes_a_scheduled_job_ready(workers):
    result = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()

    assert workers("run-now", result.id)[1] == 0
    assert Job.objects.get(id=result.id).status == JobStatus.READY


def test_pause_and_resume_say_whether_they_changed_anything(workers):
    assert "Paused" in workers("pause", "mail", "--reason", "x", "--for", "1h")[0]
    assert Queue.objects.get(name="mail").paused_until is not None
    assert "already" in workers("pause", "mail")[0]
    assert "Resumed" in workers("resume", "mail")[0]
    assert "not paused" in workers("resume", "mail")[0]


def test_prune_says_how_many_it_deleted(workers):
    result = tasks.noop.enqueue()
    end(result.id, JobStatus.SUCCESSFUL)

    assert "Deleted 0 jobs" in workers("prune", "--older-than", "7d")[0]
    assert "Deleted 1 job." in workers("prune", "--older-than", "0s")[0]


def test_rescue_reports_what_it_would_do(workers):
    assert "living worker" in workers("rescue", "--dry-run")[0]


def test_tasks_and_schedules_list_what_is_declared(workers):
    assert "tests.tasks.noop" in workers("tasks")[0]
    assert workers("schedules")[1] == 0


def test_every_verb_speaks_json(workers):
    for verb in (
        "status",
        "jobs",
        "stats",
        "health",
        "prune",
        "rescue",
        "tasks",
        "schedules",
    ):
        json.loads(workers(verb, "--format", "json")[0])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0123, "12 ms"),
        (4.25, "4.2 s"),
        (90, "1.5 min"),
        (7_200, "2.0 h"),
        (172_800, "2.0 d"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_a_table_puts_numbers_to_the_right():
    text = table([{"name": "a", "n": 5}, {"name": "bcd", "n": 1234}], ("name", "n"))

    assert text.splitlines() == ["name     n", "a        5", "bcd   1234"]


def test_jobs_are_found_by_their_tag(workers):
    tasks.noop.using(tags=["b", "eu"]).enqueue()
    wanted = tasks.noop.using(tags=["a", 'odd "% tag'], queue_name="x").enqueue()

    for tag in ("a", 'odd "% tag'):
        rows = as_json(workers("jobs", "--tag", tag, "--format", "json"))
        assert [row["id"] for row in rows] == [wanted.id]
    assert as_json(workers("jobs", "--tag", "e", "--format", "json")) == []
    assert as_json(workers("cancel", "--tag", "a", "--format", "json")) == {
        wanted.id: "cancelled"
    }


def test_a_word_that_is_no_age_is_wrong_usage(workers):
    for words in (["prune", "--older-than"], ["pause", "mail", "--for"]):
        for age in ("7x", "-1d", "d", "99999999999w"):
            said, _ = workers(*words, age)

            assert "no age" in said or "expected one" in said or "longer than" in said


def test_prune_keeps_to_a_status(workers):
    for status in (JobStatus.SUCCESSFUL, JobStatus.FAILED):
        end(tasks.noop.enqueue().id, status)

    workers("prune", "--older-than", "0s", "--status", "failed")

    assert Job.objects.get().status == JobStatus.SUCCESSFUL


def test_status_tells_health_and_how_long_jobs_take(workers):
    result = tasks.noop.enqueue()
    moment = Job.objects.get().enqueued_at
    Job.objects.filter(id=result.id).update(
        status=JobStatus.SUCCESSFUL,
        finished_at=moment,
        started_at=moment,
        attempts=1,
        duration=2.5,
    )

    said, code = workers("status")

    assert code == 0
    assert said.startswith("Healthy. Jobs: 1 successful.")
    assert "A job waits 0 ms (95 %: 0 ms) and runs 2.5 s (95 %: 2.5 s)." in said


def test_health_is_shown_for_people_too(workers):
    said, code = workers("health")

    assert code == 0
    assert "status  healthy" in said
    assert "failure rate  0.0%" in said


def test_a_schedule_is_run_and_switched_by_its_name(workers):
    Schedule.objects.create(name="hourly", task="tests.tasks.noop", cron="@hourly")

    assert "Enqueued: job" in workers("schedules", "--run", "hourly")[0]
    assert (
        "Disabled: hourly"
        in workers("schedules", "--disable", "hourly", "--reason", "noisy")[0]
    )
    assert "Was disabled" in workers("schedules", "--disable", "hourly")[0]
    (row,) = as_json(workers("schedules", "--format", "json"))
    assert (row["enabled"], row["reason"].startswith("noisy")) == (False, True)
    assert "Enabled: hourly" in workers("schedules", "--enable", "hourly")[0]
    assert as_json(workers("schedules", "--enable", "hourly", "--format", "json")) == {
        "schedule": "hourly",
        "changed": False,
    }
    assert Job.objects.get().schedule.name == "hourly"


def test_a_schedule_nobody_knows_is_wrong_usage(workers):
    said, code = workers("schedules", "--run", "hourly")

    assert (code, "no schedule is named 'hourly'" in said) == (2, True)


def test_a_schedule_whose_task_is_gone_cannot_be_run(workers):
    Schedule.objects.create(name="hourly", task="tests.tasks.gone", cron="@hourly")

    said, code = workers("schedules", "--run", "hourly")

    assert (code, "tests.tasks.gone" in said) == (1, True)


def test_another_database_can_be_named(workers):
    assert workers("stats", "--database", "default")[1] == 0

    said, code = workers("stats", "--database", "elsewhere")
    assert (code, said) == (2, "DATABASES has no 'elsewhere'.")


def test_a_database_that_is_away_is_said_in_a_line(workers, monkeypatch):
    def away(**options):
        raise OperationalError("connection refused")

    monkeypatch.setattr("django_workers.control.stats", away)

    said, code = workers("stats")
    assert (code, said) == (1, "The database cannot be asked: connection refused")


@pytest.mark.parametrize("verb", ["status", "stats", "prune", "health", "tasks"])
def test_settings_that_cannot_be_read_are_said_in_a_line(workers, settings, verb):
    settings.TASKS = {
        "default": {
            "BACKEND": "django_workers.backend.DatabaseBackend",
            "OPTIONS": {"MAX_ATTEMPTS": "3"},
        }
    }

    said, code = workers(verb)

    assert code == 1
    assert "TASKS['default']['OPTIONS']['MAX_ATTEMPTS'] = '3': must be" in said


def test_a_setting_that_a_verb_needs_is_said_in_a_line(workers, settings):
    settings.DJANGO_WORKERS = {"RETENTION": {"failed": 0}}

    said, code = workers("prune")

    assert code == 1
    assert "DJANGO_WORKERS['RETENTION']" in said


def test_the_help_of_each_verb_tells_the_exit_codes():
    command = WorkersCommand()
    parser = command.create_parser("manage.py", "workers")
    (verbs,) = (action for action in parser._actions if action.dest == "verb")

    for verb in verbs.choices.values():
        assert EXIT_CODES.strip() in verb.format_help()


def test_what_matters_has_its_colour(capsys):
    end(tasks.noop.enqueue().id, JobStatus.FAILED)

    call_command("workers", "jobs", force_color=True)
    assert "\x1b[31;1mfailed" in capsys.readouterr().out

    call_command("workers", "jobs", no_color=True)
    assert "\x1b" not in capsys.readouterr().out


def test_tasks_shows_the_defaults_that_count(workers, settings):
    settings.DJANGO_WORKERS = {"TIMEOUT": 90}
    rows = as_json(workers("tasks", "--format", "json"))
    (row,) = [row for row in rows if row["name"] == "tests.tasks.noop"]
    (line,) = [
        line
        for line in workers("tasks")[0].splitlines()
        if line.startswith("tests.tasks.noop ")
    ]

    assert (row["max_attempts"], row["timeout"]) == (1, 90)
    assert line.split()[-5:] == ["0", "1", "1.5", "min", "-"]


def test_status_says_which_queues_a_worker_serves_and_why_one_is_paused(workers):
    started_at = timezone.now()
    WorkerSession.objects.create(
        id=uuid.uuid4(),
        worker_id="web1",
        host="web1",
        pid=1,
        slots=5,
        started_at=started_at,
        heartbeat_at=started_at,
        lease_until=started_at + timedelta(hours=1),
    )
    until = datetime(2031, 1, 1, 12, tzinfo=UTC)
    control.pause("mail", reason="provider is down", until=until)
    control.pause("imports")

    lines = [line.split() for line in workers("status")[0].splitlines()]

    (worker,) = [words for words in lines if words[:1] == ["web1"]]
    (mail,) = [words for words in lines if words[:1] == ["mail"]]
    (imports,) = [words for words in lines if words[:1] == ["imports"]]
    assert worker[-1] == "all"
    end = f"{timezone.localtime(until):%Y-%m-%d %H:%M:%S}"
    assert " ".join(mail).endswith(f"until {end}: provider is down")
    assert imports[-1] == "yes"


def test_health_writes_its_moment_as_the_other_verbs_do(workers):
    moment = datetime(2026, 11, 30, 21, 9, 19, 834000, tzinfo=UTC)
    job_id = tasks.noop.enqueue().id
    Job.objects.filter(id=job_id).update(status="successful", finished_at=moment)

    said, _ = workers("health")

    assert f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}\n" in said
    assert as_json(workers("health", "--format", "json"))["last_job_completed"] == (
        moment.isoformat()
    )


def test_a_list_without_jobs_says_that_none_matches(workers):
    assert workers("jobs")[0] == "No job matches.\n"
