"""How a child runs jobs.

Each executor says by its class attributes what it can promise:

=========  =====================================================================
threads    sync tasks in threads, coroutine tasks on the child's event loop beside
           them. A coroutine is really cancelled; a sync task sees a flag and gets an
           exception injected, and where it ignores both its child is recycled.
inline     in the caller's thread, one at a time: for tests. Stops nothing.
=========  =====================================================================
"""

from .base import Executor
from .inline import InlineExecutor
from .threads import ThreadsExecutor

__all__ = ["Executor", "InlineExecutor", "ThreadsExecutor"]
