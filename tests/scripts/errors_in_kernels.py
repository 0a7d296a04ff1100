"""Report the errors of a valgrind XML log whose stack passes through fastrnn's extension; exit with 1 if there are any.

python errors_in_kernels.py LOG.xml
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

EXTENSION = "fastrnn/kernels"
# blocks that are kept for the next call, by aligned pointers into them
KEPT = ("Leak_PossiblyLost", "Leak_StillReachable")


def main(path: str) -> int:
    """Print what was found; return the exit code."""
    root = ElementTree.parse(path).getroot()
    errors = [error for error in root.findall("error") if error.findtext("kind") not in KEPT]
    ours = [error for error in errors if any(EXTENSION in (at.findtext("obj") or "") for at in error.iter("frame"))]
    for error in ours:
        print(error.findtext("what") or error.findtext("xwhat/text"))
        for at in error.iter("frame"):
            file = at.findtext("file") or at.findtext("obj")
            print(f"    {at.findtext('fn') or '?'} ({file}:{at.findtext('line') or '?'})")
    print(f"{len(ours)} errors in stacks through the kernels, {len(errors) - len(ours)} elsewhere")
    return int(bool(ours))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
