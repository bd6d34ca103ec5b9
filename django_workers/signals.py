"""Signals of a job's and a worker's life, beside the three of Django's own tasks.

All are sent with `send_robust`: a receiver that raises is logged and changes nothing.
The sender of the job signals is the backend class, of the worker signals the
`WorkerSession` model, of `schedule_fired` the `Schedule` model.
`docs/reference/signals.md` tells when and in which process each is sent.
"""

from django.dispatch import Signal

# job: the TaskResult of the job just enqueued.
job_created = Signal()

# job, attempt (from 1).
job_started = Signal()

# job, result (the return value), duration (seconds).
job_completed = Signal()

# job, error (the exception or a TaskError), attempt, will_retry, retry_at (aware
# datetime or None). Sent for each failed attempt; will_retry is False once, at the end.
job_failed = Signal()

# job, attempt (the one that failed), retry_at.
job_retried = Signal()

# job, reason.
job_cancelled = Signal()

# job_id, session_id, reason: the holder died and the job was taken back.
job_rescued = Signal()

# job: a result arrived from a claim that is no longer ours; it was dropped.
job_stale = Signal()

# session_id, worker_id.
worker_started = Signal()
worker_paused = Signal()
worker_resumed = Signal()
# session_id, worker_id, reason.
worker_stopped = Signal()

# schedule (name), job_id, slot (aware datetime).
schedule_fired = Signal()
