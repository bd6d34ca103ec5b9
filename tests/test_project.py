"""The project's own promises: its files say the same, and its tools are really on."""

import configparser
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLASSIFIERS = PYPROJECT["project"]["classifiers"]


def tox_environments() -> list[str]:
    """Return the names in tox.ini's env_list, with its braces written out."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    names = []
    for line in ini["tox"]["env_list"].split("\n"):
        parts = re.split(r"\{(.*?)\}", line.strip())
        choices = [re.split(r"\s*,\s*", part) for part in parts]
        names += ["".join(picked) for picked in itertools.product(*choices)]
    return [name for name in names if name]


def run_python(code: str, *, cwd: Path = ROOT, **env: str) -> str:
    """Run *code* in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_matrix_covers_every_django_the_metadata_names():
    named = {
        found[1].replace(".", "")
        for line in CLASSIFIERS
        if (found := re.fullmatch(r"Framework :: Django :: ([\d.]+)", line))
    }

    tested = {
        name.split("-")[1].removeprefix("django")
        for name in tox_environments()
        if name.startswith("py3")
    }

    assert tested == named


def test_each_version_runs_on_both_databases():
    pairs = {
        name.rpartition("-")[0] for name in tox_environments() if name.startswith("py3")
    }

    for pair in pairs:
        assert {f"{pair}-sqlite", f"{pair}-postgres"} <= set(tox_environments())


def test_pyenv_finds_the_interpreters_of_the_matrix():
    versions = (ROOT / ".python-version").read_text().split()

    found = {"py{}{}".format(*version.split(".")) for version in versions}

    wanted = {name[:5] for name in tox_environments() if name.startswith("py3")}
    assert found == wanted


def test_ci_runs_the_whole_of_tox():
    words = set((ROOT / ".ci" / "run").read_text().split())

    assert set(tox_environments()) <= words


def test_make_help_prints_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))

    printed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(re.findall(r"make (\S+) +\S", printed.stdout)) == targets


def test_pytest_reads_its_table(pytestconfig: pytest.Config):
    assert pytestconfig.getini("strict") is True
    assert pytestconfig.getini("filterwarnings")[0] == "error"


def test_a_warning_is_an_error():
    import warnings

    with pytest.raises(UserWarning, match="seen"):
        warnings.warn("seen", stacklevel=1)


def test_no_file_tells_to_install_somebody_elses_package():
    """The name django-workers is another project's, and ours is on no index."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wrong = re.compile(
        r"pip install [^\n]*\bdjango[-_]workers\b"
        r"|pip install ['\"]?dj-workers\b(?![^\n]* @ file:)"
    )

    sinners = [
        name
        for name in tracked.stdout.split("\0")
        if name.endswith(
            (".md", ".py", ".html", ".txt", ".toml", ".yaml", ".yml", ".example")
        )
        and (ROOT / name).exists()
        and wrong.search((ROOT / name).read_text())
    ]

    assert sinners == []


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, django
django.setup()
import django_workers
for module in pkgutil.walk_packages(django_workers.__path__, "django_workers."):
    if ".contrib" not in module.name:
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_nothing_imports_q2_or_the_test_tools():
    loaded = run_python(
        IMPORT_EVERYTHING,
        DJANGO_SETTINGS_MODULE="tests.settings",
        DATABASE_URL="sqlite:///unused.sqlite3",
    ).split()

    assert "django_workers" in loaded
    assert not {"django_q", "pytest", "psutil", "hypothesis"} & set(loaded)


BESIDE_Q2 = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "django_q"]
Q_CLUSTER = {"name": "beside", "orm": "default"}
"""


def test_lives_beside_q2(tmp_path):
    (tmp_path / "beside_q2.py").write_text(BESIDE_Q2)
    environment = {
        "DJANGO_SETTINGS_MODULE": "beside_q2",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'beside.sqlite3'}",
    }

    for command in (["check", "--fail-level", "ERROR"], ["migrate", "-v", "0"]):
        run_python(
            f"from django.core.management import execute_from_command_line as run\n"
            f"run(['manage.py', *{command!r}])",
            cwd=tmp_path,
            **environment,
        )

    assert (tmp_path / "beside.sqlite3").stat().st_size > 0


def test_every_room_has_its_floor():
    (plan,) = (
        contract
        for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
        if contract["name"] == "The floor plan"
    )
    planned = set(re.findall(r"django_workers\.([\w.]+)", " ".join(plan["layers"])))
    package = ROOT / "django_workers"

    rooms = {
        path.relative_to(package).with_suffix("").as_posix().replace("/", ".")
        for folder in (package, package / "runtime")
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__", "migrations", "runtime", "runtime.__init__"}

    assert rooms - planned == set()


def test_only_compat_tells_djangos_tasks_from_the_backport():
    imports = re.compile(r"^\s*(from|import) django[._]tasks\b", re.MULTILINE)

    knowing = {
        path.name
        for path in (ROOT / "django_workers").rglob("*.py")
        if imports.search(path.read_text())
    }

    assert knowing == {"compat.py"}
