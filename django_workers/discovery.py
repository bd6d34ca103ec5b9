"""Import the modules that declare tasks."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from types import ModuleType

from django.apps import apps

from .exceptions import ConfigurationError


def autodiscover(names: Sequence[str]) -> list[str]:
    """Import the modules of these names in every installed app, packages whole.

    A name with a dot is imported as it is. Returns what was imported. An error inside
    such a module comes through: a worker that lacks half its tasks must not start.
    Raises ConfigurationError for a dotted name that does not exist.
    """
    imported: list[str] = []
    for name in names:
        if "." in name:
            imported += _import_tree(name)
            continue
        for config in apps.get_app_configs():
            path = f"{config.name}.{name}"
            if find_spec(path) is not None:
                imported += _import_tree(path)
    return imported


def _import_tree(path: str) -> list[str]:
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name and path.startswith(error.name):
            raise ConfigurationError(
                f"DJANGO_WORKERS['AUTODISCOVER'] names {path!r}, which does not exist."
            ) from error
        raise
    return [path, *_import_submodules(module)]


def _import_submodules(module: ModuleType) -> list[str]:
    if not hasattr(module, "__path__"):
        return []
    found = [
        info.name for info in walk_packages(module.__path__, f"{module.__name__}.")
    ]
    for name in found:
        import_module(name)
    return found
