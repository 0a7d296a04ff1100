"""results.json: read, replace a section, write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .bars import judge
from .report import markdown

SCHEMA = 1


def load(path: Path) -> dict[str, Any]:
    """Read a results file.

    Raises
    ------
    ValueError
        It is no JSON of this schema.
    """
    try:
        results = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise ValueError(f"{path} must hold benchmark results of schema {SCHEMA}")
    return results


def load_or_empty(path: Path) -> dict[str, Any]:
    """Read a results file, or return results without a section where there is none."""
    return load(path) if path.exists() else {"schema": SCHEMA, "sections": {}, "bars": []}


def _replace(path: Path, text: str) -> None:
    """Write the whole file or nothing."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text)
    os.replace(draft, path)


def save(results: dict[str, Any], folder: Path) -> None:
    """Judge the bars and write results.json and results.md."""
    folder.mkdir(parents=True, exist_ok=True)
    results["bars"] = judge(results["sections"])
    _replace(folder / "results.json", json.dumps(results, indent=1) + "\n")
    _replace(folder / "results.md", markdown(results))
