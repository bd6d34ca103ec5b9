"""Run `make demo` as a newcomer does: wait for the site, look at it, press Ctrl+C.

It must print an address that answers, stop in order and leave no process behind. Run
with a Python that has the tests' group, from the root of a clone.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import MARK, wait_until

READY_SECONDS = 180
STOP_SECONDS = 60


def main() -> int:
    """Run the demo once; return an exit code."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["make", "demo"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, MARK: mark},
            )
        try:
            address = wait_until(
                lambda: _address(log.read_text()) or process.poll() is not None,
                deadline=READY_SECONDS,
                message=lambda: f"no address:\n{log.read_text()}",
            )
            assert isinstance(address, str), f"it ended:\n{log.read_text()}"
            with urllib.request.urlopen(address, timeout=20) as response:
                assert response.status == 200, response.status
            # As a terminal does it: to the whole group.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(STOP_SECONDS)
            wait_until(lambda: not _left(mark), message="a process is left")
            # Not the exit code: make, interrupted, ends by the signal all the same.
            assert log.read_text().rstrip().endswith("Stopped."), "it did not stop"
        finally:
            sys.stdout.write(log.read_text())
            for left in _left(mark):
                left.kill()
    sys.stdout.write(f"{address} answered, and `make demo` has stopped.\n")
    return 0


def _address(text: str) -> str | None:
    """Return the site's address, once the demo says that all of it runs."""
    found = re.search(r"http://127\.0\.0\.1:\d+/", text)
    return found[0] if found and "Ctrl+C" in text else None


def _left(mark: str) -> list[psutil.Process]:
    left = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == mark:
                left.append(process)
        except psutil.Error:
            continue
    return left


if __name__ == "__main__":
    sys.exit(main())
