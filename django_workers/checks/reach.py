"""Which modules lead to which: a guess from what they hold, without importing more."""

import sys
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from django.apps import AppConfig, apps
from django.urls import URLPattern, URLResolver

from ..task import Task


def reached_by_workers(discovered: Iterable[str], *, within: set[str]) -> set[str]:
    """Follow what a worker imports: the discovered modules and what setup loads.

    `within` are the top packages that matter.
    """
    start = set(discovered)
    for config in apps.get_app_configs():
        start.add(type(config).__module__)
        start.update(_named_by_ready(config))
        if config.models_module is not None:
            start.add(config.models_module.__name__)
    return _follow(start, within=within, into_packages=True)


def reached_by_urls(resolver: URLResolver, *, within: set[str]) -> set[str]:
    """Follow what the URLconf refers to, from its views on."""
    # A package holds each of its modules that anybody has imported; that says nothing
    # of who has.
    return _follow(_of_patterns(resolver), within=within, into_packages=False)


def _named_by_ready(config: AppConfig) -> Iterator[str]:
    """Yield modules that ready() may import, by the names in its code."""
    code = getattr(type(config).ready, "__code__", None)
    if code is None:
        return
    for name in (*code.co_names, *code.co_consts):
        if isinstance(name, str):
            yield name
            yield f"{config.name}.{name}"


def _of_patterns(resolver: URLResolver) -> Iterator[str]:
    if isinstance(resolver.urlconf_module, ModuleType):
        yield resolver.urlconf_module.__name__
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _of_patterns(pattern)
        elif isinstance(pattern, URLPattern):
            yield getattr(pattern.callback, "__module__", None) or ""


def _follow(start: Iterable[str], *, within: set[str], into_packages: bool) -> set[str]:
    seen = set(start)
    waiting = list(seen)
    while waiting:
        module = sys.modules.get(waiting.pop())
        if module is None:
            continue
        for value in list(vars(module).values()):
            name = _home(value)
            if name in seen or name.partition(".")[0] not in within:
                continue
            if (
                not into_packages
                and isinstance(value, ModuleType)
                and name.startswith(f"{module.__name__}.")
            ):
                continue
            seen.add(name)
            waiting.append(name)
    return seen


def _home(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, Task):
        value = value.func
    if isinstance(value, (FunctionType, type)):
        return value.__module__ or ""
    return ""
