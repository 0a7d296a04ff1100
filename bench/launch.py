"""Start a worker per thread count, with every library configured from its first moment, and gather its records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def worker_environment(threads: int) -> dict[str, str]:
    """This process's environment, with every library told its thread count."""
    count = str(threads)
    eigen = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "FASTRNN_NUM_THREADS": count,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {eigen}".strip(),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


def measure(section: str, settings: Settings) -> Iterator[dict[str, Any]]:
    """Run one worker; yield the run as it grows, first without records, then after every record.

    Raises
    ------
    RuntimeError
        The worker failed; what it had to say is on stderr.
    """
    command = [sys.executable, "-m", "bench.worker"]
    environment = worker_environment(settings.threads)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as worker:
        try:
            assert worker.stdin is not None and worker.stdout is not None
            with worker.stdin as pipe:
                json.dump({"section": section, "settings": settings.to_dict()}, pipe)
            first = worker.stdout.readline()
            if first:
                run = {"threads": settings.threads, "settings": settings.to_dict(), **json.loads(first), "records": []}
                yield run
                for line in worker.stdout:
                    run["records"].append(json.loads(line))
                    yield run
        except BaseException:  # interrupted: the worker must not go on measuring
            worker.kill()
            raise
    if worker.returncode:
        raise RuntimeError(f"the worker of section {section!r} with {settings.threads} threads failed")
