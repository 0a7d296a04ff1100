"""results.json as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .problem import Shape

Run = dict[str, Any]

DISTURBANCE = 0.05
SHARED = 0.1


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Examples
    --------
    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float | None, digits: int = 2) -> str:
    """A figure with this many decimals below 100 and none above; a hyphen for None."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def _shape(record: dict[str, Any]) -> str:
    return str(Shape(record["N"], record["T"], record["D"], record["H"]))


def _machine(run: Run) -> list[str]:
    about = run["environment"]
    cpu, config = about["cpu"], about["fastrnn"]
    caches = ", ".join(f"{name} {size}" for name, size in cpu["caches"].items()) or "unknown"
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return [
        f"- CPU: {cpu['model']} (family {cpu['family']}, model {cpu['model_number']}), "
        f"{' '.join(cpu['flags']) or 'flags unknown'}; caches {caches}",
        f"- Software: {about['system']}, Python {about['python']}, {versions}",
        "- fastrnn: " + "; ".join(f"{key} {_plain(value)}" for key, value in config.items() if "threads" not in key),
    ]


def _conditions(run: Run) -> list[str]:
    about = run["environment"]
    lines = [
        f"- {about['date']}; pinned to CPUs {about['pinned_to']}; "
        + ", ".join(f"{name}={value}" for name, value in about["variables"].items())
    ]
    lines += [f"- **Missing: {name}** ({reason})" for name, reason in run["missing"].items()]
    if run["settings"]["quick"]:
        lines.append("- **A quick run: tiny sizes, few rounds. No measurement.**")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(run: Run) -> list[str]:
    """Runners of a run's records, in the order of its settings."""
    seen = {name for record in run["records"] for name in (*record["runners"], *record["failed"])}
    return [name for name in run["settings"]["runners"] if name in seen]


def _failures(run: Run) -> str:
    lines = [
        f"- **{name} was not timed** in {record['cell']} {_shape(record)} {record['mode']}: {reason}"
        for record in run["records"]
        for name, reason in record["failed"].items()
    ]
    return "\n".join(lines)


def _disturbed(run: Run) -> str:
    """Records during which other processes took more than a twentieth of a CPU, or CPUs were not as they should be."""
    lines = []
    for record in run["records"]:
        others, shared = record["others_cpus"] or 0, record.get("shared_cpus") or 0
        far = record.get("far_cpus") or 0
        reasons = []
        if others > DISTURBANCE:
            reasons.append(f"other processes used {others:.2f} CPUs meanwhile")
        if shared > SHARED:
            reasons.append(f"{shared:.0%} of the samples began on CPUs that were not whole")
        if far > SHARED:
            reasons.append(f"{far:.0%} of the samples began on CPUs that were far apart")
        if reasons:
            lines.append(f"- **Disturbed**: {record['cell']} {_shape(record)} {record['mode']}: {'; '.join(reasons)}")
    return "\n".join(lines)


def _losses(run: Run) -> str:
    lost = [record for record in run["records"] if record["ratio"] is not None and record["ratio"] < 1]
    if not lost:
        return ""
    rows = (
        f"- {record['cell']} {_shape(record)} {record['mode']}: {record['ratio']:.2f} of {record['best_peer']}"
        for record in sorted(lost, key=lambda record: record["ratio"])
    )
    return f"Losing cells ({len(lost)}):\n\n" + "\n".join(rows)


def _of_limit(record: dict[str, Any]) -> str:
    """What the machine allows, as a share of our time."""
    if record.get("limit") is None or record["ours"] is None:
        return "-"
    return number(record["limit"] / record["runners"][record["ours"]]["median"])


def _grid(run: Run) -> Iterable[str]:
    names = _names(run)
    for mode in run["settings"]["modes"]:
        records = [record for record in run["records"] if record["mode"] == mode]
        if not records:
            continue
        yield f"#### {mode}, GFLOP/s, and best peer's time over ours"
        rows = []
        for record in records:
            speeds = [number(record["runners"].get(name, {}).get("gflops"), 1) for name in names]
            verdict = [number(record["ratio"]), record["best_peer"] or "-", number(record["share"]), _of_limit(record)]
            rows.append([record["cell"], _shape(record), *speeds, *verdict])
        yield table(["cell", "shape", *names, "ratio", "best peer", "share of peak", "of limit"], rows)
    yield _losses(run)
    yield _failures(run)
    yield _disturbed(run)


def _threads(run: Run) -> Iterable[str]:
    rows = []
    for record in run["records"]:
        median = {name: entry["median"] * 1e6 for name, entry in record["runners"].items()}
        figures = [number(median.get(name), 1) for name in ("one", "all")] + [number(record["one_over_all"])]
        rows.append([record["cell"], _shape(record), record["mode"], *figures])
    yield "fastrnn alone, on one thread and on all, in turns in one process, microseconds"
    yield table(["cell", "shape", "mode", "one thread", "all", "one over all"], rows)
    yield _failures(run)
    yield _disturbed(run)


def _step(run: Run) -> Iterable[str]:
    names = _names(run)
    rows = []
    for record in run["records"]:
        median = {name: entry["median"] * 1e6 for name, entry in record["runners"].items()}
        rows.append([record["cell"], _shape(record), *(number(median.get(n)) for n in names), number(record["ratio"])])
    yield "One step of one row, microseconds"
    yield table(["cell", "shape", *names, "best peer over ours"], rows)
    yield _failures(run)
    yield _disturbed(run)


def _ragged(run: Run) -> Iterable[str]:
    names = list(dict.fromkeys(name for record in run["records"] for name in record["ragged_over_padded"]))
    rows = []
    for record in run["records"]:
        over = record["ragged_over_padded"]
        figures = [number(over.get(name)) for name in names] + [number(record["ratio"])]
        rows.append([record["cell"], _shape(record), record["mode"], *figures])
    yield "Time of lengths evenly over 1..T over the padded batch's"
    yield table(["cell", "shape", "mode", *names, "best peer's packed over ours"], rows)
    yield _failures(run)
    yield _disturbed(run)


def _memory(run: Run) -> Iterable[str]:
    yield "Inference: growth of the peak resident set, MB, and what of it is not y"
    rows = [
        [
            r["runner"],
            r["cell"],
            _shape(r),
            *(number(r[key] / 1e6) for key in ("peak_bytes", "y_bytes", "scratch_bytes")),
        ]
        for r in run["records"]
    ]
    yield table(["runner", "cell", "shape", "peak", "y", "scratch"], rows)


def _import(run: Run) -> Iterable[str]:
    yield "Import in a fresh interpreter"
    rows = [[r["module"], number(r["median"] * 1e3, 0), number(r["over_scipy_linalg"])] for r in run["records"]]
    yield table(["module", "ms", "over scipy.linalg"], rows)


_BODIES = {"grid": _grid, "threads": _threads, "step": _step, "ragged": _ragged, "memory": _memory, "import": _import}


def _bars(bars: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            bar["name"],
            bar["bar"],
            number(bar["value"]),
            number(bar.get("at_limit")),
            bar["worst"] or "-",
            f"{bar['measured']} of {bar['expected']}",
            bar["status"] if bar["status"] != "fail" else "**fail**",
        ]
        for bar in bars
    ]
    return table(["what", "bar", "measured", "at the limit", "worst", "cells", "status"], rows)


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    parts = ["# Benchmark results", "## Bars", _bars(results["bars"])]
    told: list[str] = []
    for section, runs in results["sections"].items():
        parts.append(f"## {section}")
        for run in runs:
            parts.append(f"### {run['threads']} thread{'s' if run['threads'] > 1 else ''}")
            machine = _machine(run)
            parts.append(
                "\n".join([*(machine if machine != told else ["- Machine and software as above"]), *_conditions(run)])
            )
            told = machine
            parts += [part for part in _BODIES[section](run) if part]
    return "\n\n".join(parts) + "\n"
