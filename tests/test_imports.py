"""`import fastrnn` loads what layers and kernels need, and every other public name when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import fastrnn


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_modules_for_later_are_not_loaded():
    code = "import sys, fastrnn; print([name for name in fastrnn._LATER if f'fastrnn.{name}' in sys.modules])"
    assert run(code) == "[]"


def test_a_star_import_gives_every_public_name():
    code = "import fastrnn; names = fastrnn.__all__; from fastrnn import *; print(sorted({*names} - {*dir()}))"
    assert run(code) == "[]"


def test_dir_names_what_is_not_loaded_yet():
    code = "import fastrnn; print(sorted({*fastrnn.__all__, *fastrnn._LATER} - set(dir(fastrnn))))"
    assert run(code) == "[]"


@pytest.mark.parametrize("module", fastrnn._LATER)
def test_modules_are_loaded_when_asked_for(module):
    assert run(f"import fastrnn; print(fastrnn.{module}.__name__)") == f"fastrnn.{module}"
    assert isinstance(getattr(fastrnn, module), ModuleType)
    for name in fastrnn._LATER[module]:
        assert getattr(fastrnn, name) is getattr(getattr(fastrnn, module), name)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"^module 'fastrnn' has no attribute 'CNN'$"):
        fastrnn.CNN  # noqa: B018
    with pytest.raises(ImportError, match="CNN"):
        from fastrnn import CNN  # noqa: F401
