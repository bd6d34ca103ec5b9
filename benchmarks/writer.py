"""Another program that writes to the same SQLite file, as a web process would.

Inserts a row every few milliseconds until its standard input ends, then prints one JSON
object: how long an INSERT took, its wait for the lock included.
"""

import json
import select
import sqlite3
import sys
import time

PAUSE_SECONDS = 0.005
# As Django's own default for SQLite is far too short for a busy file.
TIMEOUT_SECONDS = 20


def main(path: str) -> None:
    """Insert until told to stop; print the percentiles."""
    connection = sqlite3.connect(path, timeout=TIMEOUT_SECONDS, isolation_level=None)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS app (id INTEGER PRIMARY KEY, v TEXT)"
    )
    print("ready", flush=True)
    took: list[float] = []
    errors = 0
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        began = time.perf_counter()
        try:
            connection.execute("INSERT INTO app (v) VALUES ('x')")
        except sqlite3.OperationalError:
            errors += 1
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    print(
        json.dumps(
            {
                "inserts": len(took),
                "errors": errors,
                "p50_ms": round(took[len(took) // 2], 2),
                "p99_ms": round(took[int(len(took) * 0.99)], 2),
                "max_ms": round(took[-1], 2),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
