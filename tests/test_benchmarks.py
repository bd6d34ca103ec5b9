"""The benchmarks run, and print what their readers look for."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support import ROOT

MACHINE = {"python", "django", "database", "cpus", "logging"}
KEYS = {
    "drain": {
        *("benchmark", "task", "jobs", "seconds", "jobs_per_second"),
        *("enqueue_many_per_second", "flags", "other_writer"),
    },
    "latency": {
        *("benchmark", "mode", "jobs", "p50_ms", "p95_ms", "p99_ms", "max_ms"),
        "flags",
    },
}


@pytest.mark.worker
@pytest.mark.sqlite
@pytest.mark.thorough
@pytest.mark.parametrize(("name", "jobs"), [("drain", 300), ("latency", 10)])
def test_a_small_run_of_a_benchmark_has_its_figures(name: str, jobs: int):
    environment = dict(os.environ)
    environment.pop("DATABASE_URL", None)  # it makes a database of its own
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", name, "--database", "sqlite"),
            *("--jobs", str(jobs), "--flags=--processes 1 --no-reload", "--json"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert set(figures) == KEYS[name] | MACHINE
    assert (figures["benchmark"], figures["jobs"]) == (name, jobs)
    assert figures["flags"] == ["--processes", "1", "--no-reload"]
    numbers = [value for value in figures.values() if isinstance(value, float)]
    assert numbers
    assert all(number >= 0 for number in numbers)
