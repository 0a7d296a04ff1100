"""CPU affinity. Imports nothing else: libraries that start threads must be loaded after the pinning."""

from __future__ import annotations

import os


def pinned_cpus() -> list[int] | None:
    """CPUs that this process may run on, or None where the system has no affinity."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def pin(threads: int) -> None:
    """Pin this process to the first ``threads`` of its CPUs, where the system has affinity.

    Raises
    ------
    ValueError
        It may not run on so many.
    """
    cpus = pinned_cpus()
    if cpus is None:
        return
    if len(cpus) < threads:
        raise ValueError(f"threads must be at most the {len(cpus)} CPUs of this process, got {threads}")
    os.sched_setaffinity(0, cpus[:threads])
