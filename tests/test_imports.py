"""`import fastrnn` loads what layers and kernels need, and every other public name when it is asked for."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
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


@pytest.mark.usefixtures("compiled")
def test_the_stub_has_the_functions_of_the_compiled_module():
    kernels = importlib.import_module("fastrnn.kernels")
    stub = ast.parse((Path(fastrnn.__file__).parent / "kernels.pyi").read_text())
    described = {
        node.name: [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        for node in stub.body
        if isinstance(node, ast.FunctionDef)
    }
    found = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(kernels).items()
        if type(value) is type(kernels.forward) and not name.startswith("_")
    }
    assert described == found
    classes = [node.name for node in stub.body if isinstance(node, ast.ClassDef)]
    assert classes and all(isinstance(getattr(kernels, name), type) for name in classes)
