"""Import the modules that declare tasks."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from types import ModuleType

from django.apps import apps
from django.core.signals import setting_changed

from .exceptions import ConfigurationError

# Whether this process has looked for its tasks, or has been told that it cannot.
_looked = False


def autodiscover(names: Sequence[str]) -> list[str]:
    """Import the modules of these names in every installed app, packages whole.

    A name with a dot is imported as it is. Returns what was imported. An error inside
    such a module comes through: a worker that lacks half its tasks must not start.
    Raises ConfigurationError for a dotted name that does not exist.
    """
    global _looked
    imported: list[str] = []
    try:
        for name in names:
            if "." in name:
                imported += _import_tree(name)
                continue
            for config in apps.get_app_configs():
                path = f"{config.name}.{name}"
                if find_spec(path) is not None:
                    imported += _import_tree(path)
    finally:
        _looked = True
    return imported


def discover_once(names: Sequence[str]) -> None:
    """Let this process know its tasks, if nobody has called autodiscover() in it.

    For what looks a task up: a process that serves pages or runs a command may not
    have imported the module that declares it. Does nothing before the apps are
    loaded. Raises as autodiscover() does, and looks again the next time then.
    """
    global _looked
    # No lock: imports have their own, and two threads that look at once do no harm.
    if _looked or not apps.models_ready:
        return
    try:
        autodiscover(names)
    except BaseException:
        _looked = False
        raise


def _forget(*, setting: str, **kwargs: object) -> None:
    global _looked
    if setting in ("DJANGO_WORKERS", "INSTALLED_APPS"):
        _looked = False


setting_changed.connect(_forget, dispatch_uid="django_workers.discovery")


def _import_tree(path: str) -> list[str]:
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name and f"{path}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"DJANGO_WORKERS['AUTODISCOVER'] names {path!r}, which does not exist."
            ) from error
        raise
    return [path, *_import_submodules(module)]


def _import_submodules(module: ModuleType) -> list[str]:
    if not hasattr(module, "__path__"):
        return []
    found = [
        info.name
        for info in walk_packages(module.__path__, f"{module.__name__}.")
        # A program: importing it runs it.
        if not info.name.endswith(".__main__")
    ]
    for name in found:
        import_module(name)
    return found
