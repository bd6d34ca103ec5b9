"""The tables of the reference say what the code says."""

import dataclasses
import importlib
import inspect
import re
from argparse import ArgumentParser
from types import ModuleType
from typing import Any

import pytest
from django.dispatch import Signal

import django_workers
from django_workers import backoff, control, exceptions, models, signals, task
from django_workers.backend import Options
from django_workers.checks.databases import OLDEST
from django_workers.conf import LEVELS, RuntimeSettings
from django_workers.context import JobContext
from django_workers.management.arguments import DEFAULT_LIMIT
from django_workers.management.commands import runworkers, workers
from django_workers.models.status import TRANSITIONS, AttemptOutcome, SessionState
from django_workers.results import JobResult
from django_workers.runtime import exits
from tests.docs.pages import code_of, literal, page, pages
from tests.support import ROOT

SETTINGS = page("docs/reference/settings.md")
COMMANDS = page("docs/reference/commands.md")
SIGNALS = page("docs/reference/signals.md")
ERRORS = page("docs/reference/errors.md")
CHECKS = page("docs/reference/checks.md")
CONTROL = page("docs/reference/control.md")
POLICIES = page("docs/reference/policies.md")
GLOSSARY = page("docs/glossary.md")


def flags_of(command: Any) -> dict[str, str]:
    """Return the options a command adds to Django's own, with their destinations."""
    parser = ArgumentParser(add_help=False)
    command.add_arguments(parser)
    return {
        option: action.dest
        for action in parser._actions
        for option in action.option_strings
    }


# Settings


def test_each_setting_has_its_row_in_the_order_of_the_code():
    table = SETTINGS.table("key", "flag", "default")

    fields = [field.name.upper() for field in dataclasses.fields(RuntimeSettings)]

    assert table.column("key") == fields


@pytest.mark.parametrize(
    "row", SETTINGS.table("key", "flag", "default").rows, ids=lambda row: row["key"]
)
def test_the_table_shows_the_default_and_its_reason(row):
    default = getattr(RuntimeSettings(), code_of(row["key"]).lower())

    assert literal(row["default"]) == default
    assert row["meaning"]
    assert row["why this default"]


def test_the_table_shows_the_flag_of_each_setting():
    shown = {
        code_of(row["key"]).lower(): code_of(row["flag"])
        for row in SETTINGS.table("key", "flag", "default").rows
        if row["flag"]
    }

    names = {field.name for field in dataclasses.fields(RuntimeSettings)}
    real = {
        name: flag
        for flag, dest in flags_of(runworkers.Command()).items()
        # --no-schedules is about this one worker, not about the setting SCHEDULES.
        if (name := dest.removeprefix("no_")) in names and dest != "no_schedules"
    }

    assert shown == real


def test_each_option_of_a_backend_has_its_row():
    table = SETTINGS.table("key", "default", "meaning", section="TASKS")

    shown = {code_of(row["key"]): literal(row["default"]) for row in table.rows}

    assert shown == {f.name: f.default for f in dataclasses.fields(Options)}


def test_the_backends_that_are_named_exist():
    for path in SETTINGS.table("backend", "for").column("backend"):
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)


# Commands


def test_each_option_of_runworkers_has_its_row():
    table = COMMANDS.table("option", "argument", section="Options")

    assert set(table.column("option")) == set(flags_of(runworkers.Command()))


@pytest.mark.parametrize(
    "command", [runworkers, workers], ids=["runworkers", "workers"]
)
def test_the_exit_codes_of_a_command_are_those_of_its_help(command):
    name = command.__name__.rpartition(".")[2]
    shown = {
        row["code"]: row["means"]
        for row in COMMANDS.table("code", "means", section=f"`{name}`").rows
    }
    helped = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in command.EXIT_CODES.splitlines()
        if line.startswith("  ")
    }

    assert shown.keys() == helped.keys()
    for code, means in shown.items():
        assert means.replace("`", "").startswith(helped[code].replace("`", ""))


def test_the_exit_codes_of_runworkers_are_those_of_the_code():
    shown = {
        int(code)
        for code in COMMANDS.table("code", "means", section="`runworkers`").column(
            "code"
        )
    }
    real = {
        value
        for name, value in vars(exits).items()
        # A lost lease starts another supervisor: it never leaves the launcher.
        if name.isupper() and name != "LEASE_LOST"
    }

    # 1 and 2 are Django's own for a command that fails and for wrong usage.
    assert shown == real | {1, 2}


def test_each_verb_of_workers_has_its_row():
    table = COMMANDS.table("verb", "options", section="Verbs")

    shown = {
        code_of(row["verb"]): {
            code_of(word.strip()) for word in row["options"].split(",") if word
        }
        for row in table.rows
    }

    assert shown == verbs_of(workers.Command())


def verbs_of(command: Any) -> dict[str, set[str]]:
    """Return the verbs of a command with their own arguments and options."""
    parser = command.create_parser("manage.py", "workers")
    (verbs,) = (action.choices for action in parser._actions if action.dest == "verb")
    common = {"-h", "--help", "--format", "--database"}
    return {
        verb: {
            name
            for action in each._actions
            for name in (action.option_strings or [action.dest])
        }
        - common
        for verb, each in verbs.items()
    }


def test_the_bound_of_a_list_is_as_shown():
    assert f"`jobs` lists {DEFAULT_LIMIT} unless given" in COMMANDS.text
    assert f"than {DEFAULT_LIMIT} jobs are counted" in COMMANDS.text


# Signals


def test_each_signal_has_its_row():
    shown = [
        name
        for table in SIGNALS.tables
        if table.columns[0] == "signal" and "Django" not in table.section
        for name in table.column("signal")
    ]

    real = {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    assert sorted(shown) == sorted(real)


def test_each_keyword_of_a_signal_is_explained():
    used = {
        word.strip().strip("`")
        for table in SIGNALS.tables
        if table.columns[0] == "signal"
        for row in table.rows
        for word in row["keywords"].split(",")
    }
    explained = {
        word.strip().strip("`")
        for cell in SIGNALS.table("keyword", "is").column("keyword")
        for word in cell.split(",")
    }

    assert used == explained


# Errors


def errors_of(module: ModuleType) -> dict[str, type[BaseException]]:
    """Return the exceptions a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ == module.__name__
    }


def test_each_error_has_its_row():
    shown = {
        name.partition("(")[0]
        for table in ERRORS.tables
        if table.columns[0] in ("error", "raised")
        for name in table.column(table.columns[0])
    }

    assert shown == set(errors_of(exceptions))


def test_each_error_is_what_its_row_says():
    known = {**vars(__import__("builtins")), **errors_of(exceptions)}
    from django.core.exceptions import ImproperlyConfigured

    known["ImproperlyConfigured"] = ImproperlyConfigured
    for table in ERRORS.tables:
        if table.columns[0] == "error":
            for row in table.rows:
                error = known[code_of(row["error"])]
                for also in row["also a"].split(","):
                    assert issubclass(error, known[code_of(also.strip())]), row


# Checks


def test_each_check_has_its_row():
    shown = {
        row["id"].strip("`"): row["level"]
        for row in CHECKS.table("id", "level", "says").rows
    }
    source = "".join(
        path.read_text() for path in (ROOT / "django_workers" / "checks").glob("*.py")
    )
    used = set(re.findall(r"id=f?\"(?:django_workers|\{APP\})\.([EWI]\d+)\"", source))
    levels = {"E": "error", "W": "warning", "I": "info"}

    assert shown == {f"django_workers.{name}": levels[name[0]] for name in used}


def test_the_oldest_servers_are_those_of_the_check():
    shown = {
        row["server"]: tuple(map(int, row["version"].split(".")))
        for row in CHECKS.table("server", "version").rows
    }

    assert shown == OLDEST


# Control


def test_each_function_of_control_has_its_row():
    rows = CONTROL.table("function", "async twin").rows

    shown = {code_of(row["function"]).partition("(")[0] for row in rows}
    shown |= {code_of(row["async twin"]) for row in rows}

    assert shown == set(control.__all__)


def test_each_function_of_control_takes_what_its_row_says():
    for call in CONTROL.table("function", "async twin").column("function"):
        name, _, arguments = call.partition("(")
        shown = inspect.signature(eval(f"lambda {arguments.rstrip(')')}: None"))
        real = inspect.signature(getattr(control, name))
        assert [(p.name, p.kind, p.default) for p in shown.parameters.values()] == [
            (p.name, p.kind, p.default) for p in real.parameters.values()
        ], name


@pytest.mark.django_db
def test_the_figures_of_control_have_the_keys_of_the_page():
    stats = CONTROL.table("key", "counts", section="Stats").column("key")
    health = CONTROL.table("key", "is", section="Health").column("key")

    assert stats == list(control.stats())
    assert health == list(control.health())


# Policies


def test_each_keyword_of_the_decorator_has_its_row():
    shown = {
        code_of(row["keyword"]): literal(row["default"])
        for row in POLICIES.table("keyword", "default").rows
    }
    (declared,) = (
        inspect.signature(overload)
        for overload in _overloads()
        if "max_attempts" in inspect.signature(overload).parameters
    )

    assert shown == {name: p.default for name, p in declared.parameters.items()}


def _overloads() -> list[Any]:
    from typing import get_overloads

    from django_workers.task import task as decorator

    return list(get_overloads(decorator))


def test_each_keyword_of_using_has_its_row():
    table = POLICIES.table("keyword", "given as")

    real = inspect.signature(django_workers.Task.using).parameters

    assert table.column("keyword") == [name for name in real if name != "self"]


def test_the_levels_are_those_of_the_code():
    (cell,) = (
        row["meaning"]
        for row in POLICIES.table("keyword", "default").rows
        if row["keyword"] == "`priority`"
    )

    assert all(f'`"{name}"` {number}' in cell for name, number in LEVELS.items())


@pytest.mark.parametrize(
    "row", POLICIES.table("helper", "delays").rows, ids=lambda row: row["helper"]
)
def test_the_delays_of_a_backoff_are_as_shown(row):
    call = code_of(row["helper"])
    if call.startswith("retry_backoff"):
        words = call.replace("=d", "=10")
        _, made = eval(f"policy_from({words})", vars(backoff))
    else:
        made = getattr(backoff, call.partition("(")[0])(10)
    shown = [float(n) for n in row["delays"].removeprefix("up to ").split(",")]

    assert [made.delay_after(n, lambda: 0.0) for n in (1, 2, 3)] == shown
    assert (made.cap is not None) == (row["cap"] != "none")
    assert (made.jitter == 1) == row["jitter"].startswith("full")


def test_each_member_of_context_and_result_has_its_row():
    context = {
        name.partition("(")[0]
        for name in POLICIES.table("member", "is", section="Context").column("member")
    }
    own = {name for name in vars(JobContext) if not name.startswith("_")}

    # `run` is the worker's own; the rest is Django's.
    assert context == own - {"run"} | {"task_result", "attempt"}

    result = {
        word.strip().strip("`").partition("(")[0]
        for cell in POLICIES.table("member", "is", section="Results").column("member")
        for word in cell.split("`, `")
    }
    ours = {name for name in vars(JobResult) if not name.startswith("_")}
    assert result == ours - {"refresh", "arefresh"}


# Names


def test_every_public_name_is_in_the_reference():
    reference = "\n".join(
        each.text for each in pages() if each.name.startswith("docs/reference/")
    )

    missing = [
        name
        for name in (*django_workers.__all__, *control.__all__)
        if f"{name}(" not in reference
        and f"`{name}`" not in reference
        and f"`@{name}`" not in reference
        and f"django_workers.{name}" not in reference
    ]

    assert missing == []


# Glossary


def test_the_glossary_has_every_status_and_says_what_it_is_called_elsewhere():
    from django_workers.backend.reading import STATUS
    from django_workers.control.figures import GROUPS

    rows = GLOSSARY.table("our status").rows

    shown = {code_of(row["our status"]): row for row in rows}

    assert list(shown) == [status.value for status in models.JobStatus]
    for status, row in shown.items():
        assert row["in `control.stats()`"] == GROUPS[status]
        assert f"`{STATUS[status].name}`" in row["Django's `TaskResultStatus`"]


def test_the_glossary_has_the_table_of_transitions():
    rows = GLOSSARY.table("from", "to").rows

    shown = {
        code_of(row["from"]): {
            word.strip().strip("`") for word in row["to"].split(",") if "`" in word
        }
        for row in rows
    }

    assert shown == {
        status.value: {after.value for after in following}
        for status, following in TRANSITIONS.items()
    }


def test_the_glossary_has_every_outcome_and_every_state():
    outcomes = GLOSSARY.table("outcome").column("outcome")
    states = GLOSSARY.table("state").column("state")

    assert outcomes == [outcome.value for outcome in AttemptOutcome]
    assert states == [state.value for state in SessionState]


def test_task_is_the_decorator_of_the_package():
    assert task is django_workers.task
