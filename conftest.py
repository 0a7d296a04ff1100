"""What holds for all tests, wherever they stand."""

import os
import signal

import pytest

# Teams of up to 8 threads in several processes: those that wait must leave the processors to those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell lets what runs in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _readme_writes_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples in README.md write files: they run in a folder of their own."""
    if request.node.path.name == "README.md":
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
