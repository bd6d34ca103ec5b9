"""Check that every test some session left out has run in another one.

`python .ci/check_ledger.py FOLDER`, where each session with TESTS_LEDGER=FOLDER has put
a page: what it ran, and what it left to the sessions on other databases.
"""

import json
import sys
from pathlib import Path


def main(folder: str) -> int:
    """Compare the pages in *folder*; return an exit code."""
    pages = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    ran = {name for page in pages for name in page["ran"]}
    left_out = {name for page in pages for name in page["left_out"]}
    for name in sorted(left_out - ran):
        sys.stderr.write(f"ran nowhere: {name}\n")
    sys.stdout.write(
        f"{len(ran)} tests ran in {len(pages)} sessions; {len(left_out)} of them were "
        f"left out in some and {len(left_out - ran)} in all.\n"
    )
    return 1 if not ran or left_out - ran else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
