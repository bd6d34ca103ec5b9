import django.db.models.deletion
from django.db import migrations, models

import django_workers.ids
from django_workers.schema import (
    AddFullUniqueness,
    AddPartialIndex,
    CreatePositionSequence,
    TuneJobTable,
)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Queue",
            fields=[
                (
                    "name",
                    models.CharField(
                        max_length=128,
                        primary_key=True,
                        serialize=False,
                        verbose_name="name",
                    ),
                ),
                (
                    "paused_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="paused at"
                    ),
                ),
                (
                    "paused_by",
                    models.CharField(
                        blank=True, default="", max_length=150, verbose_name="paused by"
                    ),
                ),
                (
                    "pause_reason",
                    models.CharField(
                        blank=True, default="", max_length=255, verbose_name="reason"
                    ),
                ),
                (
                    "paused_until",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="paused until"
                    ),
                ),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "ordering": ("name",),
                "permissions": (("pause_queue", "Can pause and resume queues"),),
            },
        ),
        migrations.CreateModel(
            name="WorkerSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=django_workers.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="id",
                    ),
                ),
                (
                    "worker_id",
                    models.CharField(max_length=128, verbose_name="worker id"),
                ),
                (
                    "cluster",
                    models.CharField(
                        blank=True, default="", max_length=128, verbose_name="cluster"
                    ),
                ),
                ("host", models.CharField(max_length=255, verbose_name="host")),
                ("pid", models.IntegerField(verbose_name="process id")),
                ("version", models.CharField(max_length=32, verbose_name="version")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("initialized", "initialized"),
                            ("starting", "starting"),
                            ("running", "running"),
                            ("pausing", "pausing"),
                            ("paused", "paused"),
                            ("resuming", "resuming"),
                            ("stopping", "stopping"),
                            ("stopped", "stopped"),
                            ("lost", "lost"),
                        ],
                        default="starting",
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                (
                    "queues",
                    models.JSONField(blank=True, default=list, verbose_name="queues"),
                ),
                (
                    "tasks",
                    models.JSONField(blank=True, default=list, verbose_name="tasks"),
                ),
                ("slots", models.IntegerField(default=0, verbose_name="slots")),
                ("children", models.IntegerField(default=0, verbose_name="children")),
                (
                    "running",
                    models.IntegerField(default=0, verbose_name="running jobs"),
                ),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("heartbeat_at", models.DateTimeField(verbose_name="last heartbeat")),
                ("lease_until", models.DateTimeField(verbose_name="lease until")),
                (
                    "stopped_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="stopped at"
                    ),
                ),
                (
                    "stop_reason",
                    models.CharField(
                        blank=True,
                        default="",
                        max_length=255,
                        verbose_name="stop reason",
                    ),
                ),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("minute", models.DateTimeField(verbose_name="minute")),
                ("worker", models.CharField(max_length=128, verbose_name="worker")),
                ("queue", models.CharField(max_length=128, verbose_name="queue")),
                ("task", models.CharField(max_length=255, verbose_name="task")),
                ("outcome", models.CharField(max_length=12, verbose_name="outcome")),
                ("count", models.IntegerField(default=0, verbose_name="count")),
                (
                    "run_seconds",
                    models.FloatField(default=0.0, verbose_name="run time, total"),
                ),
                (
                    "run_max",
                    models.FloatField(default=0.0, verbose_name="run time, longest"),
                ),
                (
                    "wait_seconds",
                    models.FloatField(default=0.0, verbose_name="wait, total"),
                ),
                (
                    "wait_max",
                    models.FloatField(default=0.0, verbose_name="wait, longest"),
                ),
            ],
            options={
                "verbose_name": "rollup",
                "verbose_name_plural": "rollups",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("minute", "worker", "queue", "task", "outcome"),
                        name="dw_rollup_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "name",
                    models.CharField(max_length=255, unique=True, verbose_name="name"),
                ),
                ("task", models.CharField(max_length=255, verbose_name="task")),
                (
                    "backend",
                    models.CharField(
                        default="default", max_length=64, verbose_name="backend"
                    ),
                ),
                (
                    "args",
                    models.JSONField(
                        blank=True, default=list, verbose_name="arguments"
                    ),
                ),
                (
                    "kwargs",
                    models.JSONField(
                        blank=True, default=dict, verbose_name="keyword arguments"
                    ),
                ),
                (
                    "queue",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: the task's own queue.",
                        max_length=128,
                        verbose_name="queue",
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(
                        blank=True,
                        help_text="Empty: the task's own.",
                        null=True,
                        verbose_name="priority",
                    ),
                ),
                (
                    "cron",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Five fields, or six with seconds first, or @daily and friends.",
                        max_length=256,
                        verbose_name="cron",
                    ),
                ),
                (
                    "interval",
                    models.FloatField(
                        blank=True,
                        help_text="Seconds between runs, instead of a cron expression.",
                        null=True,
                        verbose_name="interval",
                    ),
                ),
                (
                    "timezone",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: the site's TIME_ZONE.",
                        max_length=64,
                        verbose_name="time zone",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "disabled_reason",
                    models.CharField(
                        blank=True,
                        default="",
                        max_length=255,
                        verbose_name="disabled because",
                    ),
                ),
                (
                    "declared",
                    models.BooleanField(
                        default=False, editable=False, verbose_name="declared in code"
                    ),
                ),
                (
                    "anchor_at",
                    models.DateTimeField(blank=True, editable=False, null=True),
                ),
                (
                    "next_fire_at",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="next run"
                    ),
                ),
                (
                    "last_fire_at",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="last run"
                    ),
                ),
                (
                    "last_job",
                    models.UUIDField(
                        blank=True, editable=False, null=True, verbose_name="last job"
                    ),
                ),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "ordering": ("name",),
                "permissions": (("run_schedule", "Can run schedules now"),),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("interval__isnull", True),
                                models.Q(("cron", ""), _negated=True),
                            ),
                            models.Q(("cron", ""), ("interval__isnull", False)),
                            _connector="OR",
                        ),
                        name="dw_schedule_cron_or_interval",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=django_workers.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="id",
                    ),
                ),
                (
                    "backend",
                    models.CharField(
                        default="default", max_length=64, verbose_name="backend"
                    ),
                ),
                ("task", models.CharField(max_length=255, verbose_name="task")),
                (
                    "queue",
                    models.CharField(
                        default="default", max_length=128, verbose_name="queue"
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(default=0, verbose_name="priority"),
                ),
                (
                    "args",
                    models.JSONField(
                        blank=True, default=list, verbose_name="arguments"
                    ),
                ),
                (
                    "kwargs",
                    models.JSONField(
                        blank=True, default=dict, verbose_name="keyword arguments"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("scheduled", "scheduled"),
                            ("blocked", "blocked"),
                            ("ready", "ready"),
                            ("running", "running"),
                            ("successful", "successful"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        max_length=12,
                        verbose_name="status",
                    ),
                ),
                (
                    "run_after",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="run after"
                    ),
                ),
                (
                    "position",
                    models.BigIntegerField(blank=True, editable=False, null=True),
                ),
                ("epoch", models.IntegerField(default=0, editable=False)),
                ("session", models.UUIDField(blank=True, editable=False, null=True)),
                (
                    "worker",
                    models.CharField(
                        blank=True, default="", max_length=128, verbose_name="worker"
                    ),
                ),
                ("attempts", models.IntegerField(default=0, verbose_name="attempts")),
                ("crashes", models.IntegerField(default=0, verbose_name="crashes")),
                (
                    "interruptions",
                    models.IntegerField(default=0, verbose_name="interruptions"),
                ),
                (
                    "max_attempts",
                    models.IntegerField(default=1, verbose_name="maximum attempts"),
                ),
                (
                    "timeout",
                    models.FloatField(blank=True, null=True, verbose_name="timeout"),
                ),
                (
                    "on_crash",
                    models.CharField(
                        choices=[("retry", "run again"), ("fail", "fail")],
                        default="retry",
                        max_length=8,
                        verbose_name="on crash",
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="expires at"
                    ),
                ),
                (
                    "retry_until",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="retry until"
                    ),
                ),
                ("enqueued_at", models.DateTimeField(verbose_name="enqueued at")),
                (
                    "started_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="started at"
                    ),
                ),
                (
                    "last_attempted_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="last attempted at"
                    ),
                ),
                (
                    "finished_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="finished at"
                    ),
                ),
                (
                    "duration",
                    models.FloatField(blank=True, null=True, verbose_name="duration"),
                ),
                (
                    "result",
                    models.JSONField(blank=True, null=True, verbose_name="result"),
                ),
                (
                    "reason",
                    models.TextField(blank=True, default="", verbose_name="reason"),
                ),
                (
                    "cancel_requested_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="cancel requested at"
                    ),
                ),
                (
                    "tags",
                    models.JSONField(blank=True, default=list, verbose_name="tags"),
                ),
                (
                    "metadata",
                    models.JSONField(blank=True, default=dict, verbose_name="metadata"),
                ),
                (
                    "slot",
                    models.DateTimeField(blank=True, null=True, verbose_name="slot"),
                ),
                (
                    "schedule",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="job_set",
                        to="django_workers.schedule",
                        verbose_name="schedule",
                    ),
                ),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "ordering": ("-id",),
                "permissions": (
                    ("cancel_job", "Can cancel jobs"),
                    ("retry_job", "Can retry jobs"),
                    ("run_job", "Can run waiting jobs now"),
                ),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                [
                                    "scheduled",
                                    "blocked",
                                    "ready",
                                    "running",
                                    "successful",
                                    "failed",
                                    "cancelled",
                                ],
                            )
                        ),
                        name="dw_job_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("session__isnull", False), ("status", "running")),
                            models.Q(
                                models.Q(("status", "running"), _negated=True),
                                ("session__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="dw_job_held_while_running",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("finished_at__isnull", False),
                                ("status__in", ["successful", "failed", "cancelled"]),
                            ),
                            models.Q(
                                ("finished_at__isnull", True),
                                (
                                    "status__in",
                                    ["scheduled", "blocked", "ready", "running"],
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="dw_job_ended_when_finished",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "scheduled"), _negated=True),
                            ("run_after__isnull", False),
                            _connector="OR",
                        ),
                        name="dw_job_due_when_scheduled",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "ready"), _negated=True),
                            ("position__isnull", False),
                            _connector="OR",
                        ),
                        name="dw_job_placed_when_ready",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("schedule__isnull", False)),
                        fields=("schedule", "slot"),
                        name="dw_job_slot_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("number", models.IntegerField(verbose_name="number")),
                ("epoch", models.IntegerField(verbose_name="epoch")),
                (
                    "session",
                    models.UUIDField(blank=True, null=True, verbose_name="session"),
                ),
                (
                    "worker",
                    models.CharField(blank=True, max_length=128, verbose_name="worker"),
                ),
                (
                    "host",
                    models.CharField(blank=True, max_length=255, verbose_name="host"),
                ),
                (
                    "pid",
                    models.IntegerField(
                        blank=True, null=True, verbose_name="process id"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("successful", "successful"),
                            ("failed", "failed"),
                            ("timed_out", "timed out"),
                            ("crashed", "crashed"),
                            ("lost", "lost"),
                            ("interrupted", "interrupted"),
                            ("snoozed", "snoozed"),
                            ("cancelled", "cancelled"),
                            ("expired", "expired"),
                        ],
                        max_length=12,
                        verbose_name="outcome",
                    ),
                ),
                (
                    "exception",
                    models.CharField(
                        blank=True, max_length=255, verbose_name="exception"
                    ),
                ),
                ("message", models.TextField(blank=True, verbose_name="message")),
                ("traceback", models.TextField(blank=True, verbose_name="traceback")),
                (
                    "started_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="started at"
                    ),
                ),
                ("finished_at", models.DateTimeField(verbose_name="finished at")),
                (
                    "duration",
                    models.FloatField(blank=True, null=True, verbose_name="duration"),
                ),
                (
                    "job",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempt_set",
                        to="django_workers.job",
                        verbose_name="job",
                    ),
                ),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "ordering": ("job", "epoch"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("job", "epoch"), name="dw_attempt_epoch_once"
                    )
                ],
            },
        ),
        AddPartialIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("enabled", True)),
                fields=["next_fire_at"],
                name="dw_schedule_next",
            ),
            full=models.Index(
                fields=["enabled", "next_fire_at"], name="dw_schedule_next"
            ),
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                models.F("queue"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("position"),
                condition=models.Q(("status", "ready")),
                name="dw_job_ready",
            ),
            full=models.Index(
                fields=["status", "queue", "priority", "position"], name="dw_job_ready"
            ),
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                models.F("task"),
                models.F("queue"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("position"),
                condition=models.Q(("status", "ready")),
                name="dw_job_ready_by_task",
            ),
            full=models.Index(
                fields=["status", "task", "queue", "priority", "position"],
                name="dw_job_ready_by_task",
            ),
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "scheduled")),
                fields=["run_after"],
                name="dw_job_due",
            ),
            full=models.Index(fields=["status", "run_after"], name="dw_job_due"),
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "running")),
                fields=["session"],
                name="dw_job_held",
            ),
            full=models.Index(fields=["session"], name="dw_job_held"),
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "blocked")),
                fields=["task"],
                name="dw_job_blocked",
            ),
            full=None,  # the index by task begins with its status and task
        ),
        AddPartialIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["status", "finished_at"],
                name="dw_job_finished",
            ),
            full=models.Index(fields=["status", "finished_at"], name="dw_job_finished"),
        ),
        AddFullUniqueness(
            "job",
            models.UniqueConstraint(
                fields=("schedule", "slot"), name="dw_job_slot_once"
            ),
        ),
        CreatePositionSequence("django_workers_position"),
        TuneJobTable(),
    ]
