"""python -m benchmarks drain|latency: measure, print a table or one JSON object."""

import argparse
import json
from typing import Any

from . import drain, latency


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    kinds = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in (("drain", drain), ("latency", latency)):
        kind = kinds.add_parser(name, description=module.__doc__, help=name)
        kind.add_argument(
            "--database",
            choices=("postgresql", "sqlite", "mariadb"),
            default="postgresql",
        )
        kind.add_argument("--json", action="store_true", help="one JSON object")
        kind.add_argument(
            "--quiet-logging",
            action="store_true",
            help="logger django.tasks at WARNING instead of Django's default",
        )
        kind.add_argument(
            "--flags", default="", help="flags for runworkers, in one string"
        )
    kinds.choices["drain"].add_argument("--jobs", type=int, default=50_000)
    kinds.choices["drain"].add_argument(
        "--task", choices=("noop", "select_and_update"), default="noop"
    )
    kinds.choices["latency"].add_argument("--jobs", type=int, default=200)
    kinds.choices["latency"].add_argument(
        "--mode", choices=("idle", "busy"), default="idle"
    )
    _print(_run(parser.parse_args()))


def _run(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    common: dict[str, Any] = {
        "database": options.database,
        "jobs": options.jobs,
        "flags": options.flags.split(),
        "quiet": options.quiet_logging,
    }
    if options.benchmark == "drain":
        return drain.run(task=options.task, **common), options.json
    return latency.run(mode=options.mode, **common), options.json


def _print(outcome: tuple[dict[str, Any], bool]) -> None:
    figures, as_json = outcome
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:>24}  {value}")


if __name__ == "__main__":
    main()
