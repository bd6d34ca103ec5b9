"""Tasks that ask the database: what a web project's jobs mostly do."""

from django.contrib.auth.models import Group

from django_workers.task import task


@task
def select_and_update(pk: int, name: str) -> str:
    """Read a row and write it; return what it was."""
    before = Group.objects.get(pk=pk).name
    Group.objects.filter(pk=pk).update(name=name)
    return before


@task
async def select_and_update_async(pk: int, name: str) -> str:
    """Read a row and write it, from the event loop; return what it was."""
    before = (await Group.objects.aget(pk=pk)).name
    await Group.objects.filter(pk=pk).aupdate(name=name)
    return before
