"""The process that measures one section with one thread count: settings as JSON in, lines of JSON out.

The first line holds the environment and the missing runners, every other line a record. Whatever a library prints
goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .pinning import pin


def _reserve_stdout() -> Any:
    """The original stdout as a file; file descriptor 1 then leads to stderr."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


def main() -> None:
    """Read ``{"section", "settings"}`` from stdin, measure, write."""
    job = json.load(sys.stdin)
    pin(job["settings"]["threads"])
    out = _reserve_stdout()

    # Imported after the pinning: BLAS and OpenMP start their threads when they are loaded.
    from .machine import environment
    from .runners import RUNNERS
    from .sections import SECTIONS
    from .settings import Settings

    settings = Settings.from_dict(job["settings"])
    reasons = {name: RUNNERS[name].missing() for name in settings.runners}
    missing = {name: reason for name, reason in reasons.items() if reason is not None}
    present = {name: RUNNERS[name] for name in settings.runners if name not in missing}
    print(json.dumps({"environment": environment(settings.threads), "missing": missing}), file=out, flush=True)
    for record in SECTIONS[job["section"]].measure(settings, present):
        print(json.dumps(record), file=out, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
