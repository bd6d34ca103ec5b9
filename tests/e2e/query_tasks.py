"""Tasks that ask the database: what a web project's jobs mostly do."""

import asyncio
import time

from django.contrib.auth.models import Group

from django_workers.task import task


@task
def select_and_update(pk: int, name: str, pause: float = 0.0) -> str:
    """Read a row, take so many seconds, write it; return what it was."""
    before = Group.objects.get(pk=pk).name
    time.sleep(pause)
    Group.objects.filter(pk=pk).update(name=name)
    return before


@task
async def select_and_update_async(pk: int, name: str, pause: float = 0.0) -> str:
    """Read a row, take so many seconds, write it, all from the event loop."""
    before = (await Group.objects.aget(pk=pk)).name
    await asyncio.sleep(pause)
    await Group.objects.filter(pk=pk).aupdate(name=name)
    return before
