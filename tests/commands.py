"""Commands in processes of their own, and small files for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def command(*arguments: object) -> list[str]:
    """The command line of ``fastrnn`` with these arguments; every warning is an error."""
    return [sys.executable, "-W", "error", "-m", "fastrnn", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what it says to fastrnn."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTRNN_")}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"} | more


def run(
    *arguments: object, cwd: Path | None = None, given: str | bytes = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, ``given`` being its stdin."""
    found = subprocess.run(
        command(*arguments),
        env=environment(**more),
        cwd=cwd,
        capture_output=True,
        input=given.encode() if isinstance(given, str) else given,
        timeout=120,
        check=False,
    )
    out, err = found.stdout.decode(), found.stderr.decode()
    return subprocess.CompletedProcess(found.args, found.returncode, out, err)


def succeed(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that must end well."""
    found = run(*arguments, **options)  # type: ignore[arg-type]
    assert found.returncode == 0, found.stderr
    return found


def fail(message: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command with bad input: it must say so on stderr, in one message without a traceback, and print nothing."""
    found = run(*arguments, **options)  # type: ignore[arg-type]
    assert found.returncode == 2, found
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
    return found


def stopped_by_ctrl_c(*arguments: object, cwd: Path) -> tuple[str, str]:
    """Start a command, press Ctrl-C a while after its training has begun, and see it end: its stdout and stderr."""
    process = subprocess.Popen(
        command(*arguments), env=environment(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    seen = b""
    while b"epoch" not in seen:
        assert process.poll() is None
        seen += process.stderr.read(64)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = (part.decode() for part in process.communicate(timeout=60))
    assert process.returncode == 130 and "Traceback" not in err, err
    return out, err


def write_text(path: Path, words: int = 400) -> Path:
    """A text of a few words in random order."""
    known = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog,", "and", "the", "dog", "sleeps.\n"]
    order = np.random.default_rng(0).integers(0, len(known), words)
    path.write_text(" ".join(known[k] for k in order), encoding="utf-8")
    return path
