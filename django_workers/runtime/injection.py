"""Exceptions raised in another thread: how a sync task is asked to end."""

import ctypes
import threading

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


def inject(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in another thread at its next bytecode.

    What waits in C code gets it when that returns.
    """
    _set_async_exception(ctypes.c_ulong(thread), ctypes.py_object(error))


def withdraw_injection() -> None:
    """Take back an exception that was injected into this thread but not raised."""
    _set_async_exception(ctypes.c_ulong(threading.get_ident()), None)
