"""How long to wait before the next attempt.

A back-off is any callable ``(exception, task_result) -> seconds | None``; None gives
up. The ones made here are values: comparable, picklable, and pure in `delay_after`.
"""

import random as dice
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from math import inf, isfinite
from typing import Any, Final, Protocol, TypeGuard

from .exceptions import InvalidPolicy

Seconds = float | timedelta
BackoffFunction = Callable[[BaseException, Any], float | None]

# Ten years: a longer delay would only make due dates that no database can hold.
MAX_DELAY_SECONDS: Final = 10 * 365.25 * 86_400
# The column that holds it is a 32-bit integer.
MAX_ATTEMPTS: Final = 2**31 - 1
# No growth that matters is left beyond; keeps huge attempt numbers out of float's way.
_ATTEMPT_END: Final = 1_000_000_000


class _HasAttempts(Protocol):
    @property
    def attempts(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Base of the growing delays: say how they grow, the rest is here.

    `cap` bounds the delay in seconds, None leaves it open (ten years bound every
    delay). `jitter` is the share of the delay left to chance: with 0.25 a delay of
    8 s becomes 6 to 8 s, with 1 ("full jitter") 0 to 8 s.
    """

    initial: float
    cap: float | None = None
    jitter: float = 0.0

    def __call__(self, exception: BaseException, task_result: _HasAttempts) -> float:
        """Return the delay in seconds after attempt number `task_result.attempts`."""
        return self.delay_after(task_result.attempts)

    def delay_after(
        self, attempt: int, random: Callable[[], float] = dice.random
    ) -> float:
        """Return the delay in seconds after the failure of attempt number *attempt*.

        Attempts count from 1. `random` gives a float from 0 up to 1, 1 excluded.
        """
        attempt = min(max(attempt, 1), _ATTEMPT_END)
        ceiling = MAX_DELAY_SECONDS if self.cap is None else self.cap
        delay = min(self._growth(attempt), ceiling, MAX_DELAY_SECONDS)
        return delay * (1.0 - self.jitter * random()) if self.jitter else delay

    def _growth(self, attempt: int) -> float:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fixed(Backoff):
    """The same delay after each attempt; see fixed()."""

    def _growth(self, attempt: int) -> float:
        return self.initial


@dataclass(frozen=True, slots=True)
class Linear(Backoff):
    """A delay that grows by the first one each time; see linear()."""

    def _growth(self, attempt: int) -> float:
        return self.initial * attempt


@dataclass(frozen=True, slots=True)
class Exponential(Backoff):
    """A delay that is multiplied each time; see exponential()."""

    factor: float = 2.0

    def _growth(self, attempt: int) -> float:
        if self.initial == 0:
            return 0.0
        try:
            return self.initial * self.factor ** (attempt - 1)
        except OverflowError:
            return inf


def fixed(delay: Seconds, *, jitter: float = 0.0) -> Fixed:
    """Wait `delay` (seconds or timedelta) after each failed attempt.

    Raises InvalidPolicy for a delay below zero or a jitter outside 0 to 1.
    """
    return Fixed(_seconds("delay", delay), jitter=_share(jitter))


def linear(
    initial: Seconds, *, cap: Seconds | None = None, jitter: float = 0.0
) -> Linear:
    """Wait initial, 2 x initial, 3 x initial, ... up to `cap`.

    `initial` and `cap` are seconds or timedeltas, cap=None means no bound; `jitter` is
    the share of each delay left to chance.

    Raises InvalidPolicy for a number below zero or a jitter outside 0 to 1.
    """
    return Linear(
        _seconds("initial", initial), cap=_cap("cap", cap), jitter=_share(jitter)
    )


def exponential(
    initial: Seconds = 2.0,
    *,
    factor: float = 2.0,
    cap: Seconds | None = 600.0,
    jitter: float = 1.0,
) -> Exponential:
    """Wait initial, factor x initial, factor² x initial, ... up to `cap`.

    `initial` and `cap` are seconds or timedeltas, cap=None means no bound; `jitter` is
    the share of each delay left to chance: by default all of it, so that what failed
    together does not come back together.

    Raises InvalidPolicy for a number below zero, a factor below 1 or a jitter outside
    0 to 1.
    """
    if not _is_number(factor) or not factor >= 1:
        raise InvalidPolicy(f"factor must be a number from 1 up, not {_shown(factor)}.")
    return Exponential(
        _seconds("initial", initial),
        factor=float(factor),
        cap=_cap("cap", cap),
        jitter=_share(jitter),
    )


# What a task gets that may be retried and names no back-off: soon at first, patient
# later, and never in step with the others that failed at the same moment.
DEFAULT_BACKOFF: Final = Exponential(2.0, cap=600.0, jitter=1.0, factor=2.0)

# The delay of a `retry_backoff` that comes without a `retry_delay`.
DEFAULT_RETRY_DELAY: Final = 2.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how far apart to try again, in the words of other queues.

    `max_retries` counts the tries after the first. `retry_backoff` gives, for an
    initial delay d: "fixed" d, d, d; "linear" d, 2d, 3d; "exponential" 2d, 4d, 8d.
    `initial_delay` and `max_delay` are seconds or timedeltas; without `max_delay` the
    delays grow on. `jitter` is the share of each delay left to chance.

    Can be given as a task's `backoff`; `max_attempts` then comes with it.

    Raises InvalidPolicy for an unknown name or a number that cannot work.
    """

    max_retries: int = 3
    retry_backoff: str = "exponential"
    initial_delay: Seconds = DEFAULT_RETRY_DELAY
    max_delay: Seconds | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _count("max_retries", self.max_retries, at_least=0, at_most=MAX_ATTEMPTS - 1)
        _ = self.backoff

    @property
    def max_attempts(self) -> int:
        """The first try and the retries."""
        return self.max_retries + 1

    @property
    def backoff(self) -> Backoff:
        """The delays alone, without a bound on their number."""
        delay = _seconds("initial_delay", self.initial_delay)
        cap = _cap("max_delay", self.max_delay)
        jitter = _share(self.jitter)
        match self.retry_backoff:
            case "fixed":
                return Fixed(delay, cap=cap, jitter=jitter)
            case "linear":
                return Linear(delay, cap=cap, jitter=jitter)
            case "exponential":
                # d * 2 ** attempt, counted from 1: the first wait is 2d.
                return Exponential(2 * delay, factor=2.0, cap=cap, jitter=jitter)
        raise InvalidPolicy(_unknown_backoff(self.retry_backoff))

    def __call__(
        self, exception: BaseException, task_result: _HasAttempts
    ) -> float | None:
        """Return the delay in seconds, or None once the retries are used up."""
        return self.delay_after(task_result.attempts)

    def delay_after(
        self, attempt: int, random: Callable[[], float] = dice.random
    ) -> float | None:
        """Return the delay in seconds after attempt number *attempt*, from 1.

        None once the retries are used up.
        """
        if attempt > self.max_retries:
            return None
        return self.backoff.delay_after(attempt, random)


def policy_from(
    *,
    max_attempts: int | None = None,
    max_retries: int | None = None,
    backoff: BackoffFunction | None = None,
    retry_backoff: str | None = None,
    retry_delay: Seconds | None = None,
) -> tuple[int | None, BackoffFunction | None]:
    """Bring the two ways to name a retry policy into one: (max_attempts, backoff).

    None stands for the backend's default: one attempt, and DEFAULT_BACKOFF between
    attempts. `max_retries=n` is `max_attempts=n + 1`. A `retry_delay` (seconds or
    timedelta) alone means "fixed"; a `retry_backoff` alone starts at 2 seconds.

    Raises InvalidPolicy where two of them contradict each other, for an unknown name
    and for numbers that cannot work.
    """
    if max_attempts is not None and max_retries is not None:
        raise InvalidPolicy(
            "max_attempts and max_retries say the same in two ways: max_retries=n is "
            "max_attempts=n + 1. Give one of them."
        )
    if backoff is not None and (retry_backoff is not None or retry_delay is not None):
        other = "retry_delay" if retry_backoff is None else "retry_backoff"
        raise InvalidPolicy(f"backoff and {other} contradict each other. Give one.")
    if max_attempts is not None:
        _count("max_attempts", max_attempts, at_least=1, at_most=MAX_ATTEMPTS)
    if max_retries is not None:
        _count("max_retries", max_retries, at_least=0, at_most=MAX_ATTEMPTS - 1)
        max_attempts = max_retries + 1
    if retry_backoff is not None or retry_delay is not None:
        delay = DEFAULT_RETRY_DELAY
        if retry_delay is not None:
            delay = _seconds("retry_delay", retry_delay)
        name = "fixed" if retry_backoff is None else retry_backoff
        return max_attempts, RetryPolicy(0, name, delay).backoff
    if isinstance(backoff, RetryPolicy):
        if max_attempts is not None:
            raise InvalidPolicy(
                "A RetryPolicy brings its own max_retries; give no max_attempts or "
                "max_retries beside it."
            )
        return backoff.max_attempts, backoff.backoff
    if backoff is not None and not callable(backoff):
        raise InvalidPolicy(
            "backoff must be a callable (exception, task_result) -> seconds or None, "
            f"such as fixed(30) or exponential(), not {_shown(backoff)}."
        )
    return max_attempts, backoff


def _seconds(name: str, value: object) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(seconds) or not seconds >= 0:
        raise InvalidPolicy(
            f"{name} must be zero or more seconds or a timedelta, not {_shown(value)}."
        )
    return min(float(seconds), MAX_DELAY_SECONDS)


def _cap(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _share(jitter: object) -> float:
    if not _is_number(jitter) or not 0 <= jitter <= 1:
        raise InvalidPolicy(
            f"jitter must be a share from 0 to 1 of the delay, not {_shown(jitter)}."
        )
    return float(jitter)


def _count(name: str, value: object, *, at_least: int, at_most: int) -> None:
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not at_least <= value <= at_most
    ):
        raise InvalidPolicy(
            f"{name} must be a whole number from {at_least} up, not {_shown(value)}."
        )


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def _unknown_backoff(name: object) -> str:
    known = ("fixed", "linear", "exponential")
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return (
        f'retry_backoff must be "fixed", "linear" or "exponential", not '
        f"{_shown(name)}.{hint}"
    )


def _shown(value: object) -> str:
    """Show a wrong value in a message, which must not fail over it itself."""
    try:
        return repr(value)[:100]
    except Exception:
        return f"a {type(value).__name__}"
