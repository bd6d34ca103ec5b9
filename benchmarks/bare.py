"""The least that a wake-up through PostgreSQL can be: what the machine itself takes.

One row is inserted and announced with NOTIFY; another process, which listens, updates
it. Nothing of ours is in the way, the row has two columns, and both commits wait for
the disk, as ours do. Run among the measured jobs, it tells a slow machine from a slow
queue.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

CHANNEL = "benchmarks_bare"
TABLE = "benchmarks_bare"


@contextmanager
def probe(dsn: str) -> Iterator[Callable[[], float]]:
    """Give a function that takes one measure, in milliseconds."""
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare", dsn],
            stdout=subprocess.PIPE,
            text=True,
        ) as other,
    ):
        connection.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, state text)")
        assert other.stdout is not None
        other.stdout.readline()
        number = 0

        def measure() -> float:
            nonlocal number
            number += 1
            began = time.time()
            connection.execute(f"INSERT INTO {TABLE} VALUES (%s, 'ready')", [number])
            connection.execute(f"NOTIFY {CHANNEL}, '{number}'")
            assert other.stdout is not None
            return (float(other.stdout.readline()) - began) * 1000

        try:
            yield measure
        finally:
            other.terminate()
            connection.execute(f"DROP TABLE {TABLE}")


def main(dsn: str) -> None:
    """Update each row that is announced; print when that was done."""
    with (
        psycopg.connect(dsn, autocommit=True) as listener,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        listener.execute(f"LISTEN {CHANNEL}")
        print("ready", flush=True)
        for hint in listener.notifies():
            connection.execute(
                f"UPDATE {TABLE} SET state = 'running' WHERE id = %s", [hint.payload]
            )
            print(time.time(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
