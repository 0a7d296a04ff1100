"""``python -m fastrnn``: the command line, as `fastrnn.cli` has it."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
