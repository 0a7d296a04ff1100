"""The machine and the software that a run was measured on."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fastrnn

from .pinning import pinned_cpus

_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bf16", "avx512_bf16", "amx_tile", "asimd", "sve")
_PACKAGES = ("numpy", "scipy", "torch", "onnxruntime", "onnx", "jax", "jaxlib")
_VARIABLES = ("OMP_NUM_THREADS", "FASTRNN_NUM_THREADS", "FASTRNN_ISA", "FASTRNN_GEMM", "FASTRNN_BACKEND", "XLA_FLAGS")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def cpu() -> dict[str, Any]:
    """Model, relevant instruction-set flags and caches of the first CPU, as far as the system tells."""
    info: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    present = set(info.get("flags", info.get("Features", "")).split())
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(index / name)).strip() for name in ("level", "type", "size"))
        caches[f"L{level} {kind}"] = size
    return {
        "model": info.get("model name") or platform.processor() or platform.machine(),
        "family": info.get("cpu family"),
        "model_number": info.get("model"),
        "flags": [flag for flag in _FLAGS if flag in present],
        "caches": caches,
        "cpus": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def environment(threads: int) -> dict[str, Any]:
    """Everything about this process that a figure depends on."""
    with contextlib.redirect_stdout(io.StringIO()):
        config = fastrnn.show_config()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": threads,
        "pinned_to": pinned_cpus(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "versions": versions(),
        "fastrnn": config,
    }


def busy_seconds() -> float | None:
    """CPU seconds that the machine has spent on anything (what a hypervisor took included), or None if not told."""
    fields = _read("/proc/stat").partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return None
    user, nice, system, _idle, _waiting, *rest = map(int, fields[:8])
    return float((user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK"))
