"""What the exit code of `runworkers` says."""

from typing import Final

OK: Final = 0
# No child ever became ready.
BOOT: Final = 3
# MAX_FAILURES consecutive jobs failed.
FAILURES: Final = 4
# The database was away when the worker had to stop: jobs return by the lease.
DATABASE: Final = 5
# The supervisor died again and again.
SUPERVISOR: Final = 6
# Somebody found this worker dead: the launcher starts a new one. Never seen outside.
LEASE_LOST: Final = 75
