"""The examples in README.md write files: they run in a folder of their own."""

import pytest


@pytest.fixture(autouse=True)
def _readme_writes_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.path.name == "README.md":
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
