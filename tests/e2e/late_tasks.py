"""Tasks that workers learn of only when told to: code that is deployed later."""

from django_workers.task import task


@task
def arrives_late() -> str:
    """Return a word."""
    return "here"
