"""``python -m bench``: see the package's docstring, or ``--help``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .launch import measure
from .pinning import pinned_cpus
from .plot import draw
from .problem import GRID_CELLS, Shape
from .readme import write
from .results import load, load_or_empty, save
from .runners import RUNNERS
from .sections import SECTIONS
from .settings import MODES, Settings

OUT = Path("bench/results")
QUICK_OUT = Path(tempfile.gettempdir()) / "fastrnn-bench-quick"


def _choices(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated names."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"must be of {', '.join(allowed)}, got {name!r}")
        return names

    return parse


def _shapes(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(Shape.parse(part)) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"must be positive integers, got {text!r}")
    return tuple(map(int, parts))


def _count(text: str) -> int:
    return _counts(text)[0] if "," not in text else _refuse(text)


def _refuse(text: str) -> int:
    raise argparse.ArgumentTypeError(f"must be one positive integer, got {text!r}")


_OPTIONS: dict[str, dict[str, Any]] = {
    "runners": {"type": _choices(*RUNNERS), "help": f"of {','.join(RUNNERS)}"},
    "cells": {"type": _choices(*GRID_CELLS), "help": f"of {','.join(GRID_CELLS)}"},
    "shapes": {"type": _shapes, "help": "such as N1T100D32H32,N16T50D64H64"},
    "modes": {"type": _choices(*MODES), "help": f"of {','.join(MODES)}"},
    "rounds": {"type": _count, "help": "rounds at least (7)"},
    "seconds": {"type": float, "help": "time per record; rounds go on until it is spent, to 4 times --rounds (1.0)"},
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Without a command: grid.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, section in SECTIONS.items():
        command = commands.add_parser(name, help=(section.__doc__ or "").partition(": ")[2].splitlines()[0])
        for option in section.OPTIONS:
            flag = "--mode" if option == "modes" else f"--{option}"
            command.add_argument(flag, dest=option, metavar=option.upper(), **_OPTIONS[option])
    commands.add_parser("all", help="every section, one after the other")
    for name in (*SECTIONS, "all"):
        command = commands.choices[name]
        command.add_argument("--threads", type=_counts, help="thread counts, such as 1,2; a process for each")
        command.add_argument("--quick", action="store_true", help="tiny sizes: tries the program, measures nothing")
        command.add_argument("--out", type=Path, help=f"folder of the results ({OUT}; with --quick {QUICK_OUT})")
    plot = commands.add_parser("plot", help="draw the ratios of a results file")
    plot.add_argument("results", type=Path)
    plot.add_argument("--out", type=Path, help="folder of the PNG files (that of the results)")
    table = commands.add_parser("readme", help="put the speed tables of a results file into README.md")
    table.add_argument("results", type=Path)
    table.add_argument("--readme", type=Path, default=Path("README.md"), help="the file to write to (README.md)")
    return parser


def _settings(name: str, options: argparse.Namespace, threads: int) -> Settings:
    """The section's own defaults, overridden by what was given."""
    section = SECTIONS[name]
    given = {key: value for key in section.OPTIONS if (value := getattr(options, key, None)) is not None}
    shapes = section.TINY if options.quick else section.SHAPES
    make = Settings.quickly if options.quick else Settings
    return make(**{"shapes": tuple(map(str, shapes)), "threads": threads, **given})


def _thread_counts(name: str, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """What was asked for, else the section's own as far as there are CPUs.

    Raises
    ------
    ValueError
        More threads than CPUs were asked for.
    """
    cpus = pinned_cpus()
    most = len(cpus) if cpus is not None else sys.maxsize
    if given is None:
        return tuple(count for count in SECTIONS[name].THREADS if count <= most)
    if max(given) > most:
        raise ValueError(f"--threads must be at most the {most} CPUs of this process, got {max(given)}")
    return given


def _line(record: dict[str, Any]) -> str:
    """A record in a line of progress."""
    if "module" in record:
        return f"{record['module']}: {record['median'] * 1e3:.0f} ms"
    where = f"{record['cell']} {Shape(record['N'], record['T'], record['D'], record['H'])}"
    if "runner" in record:
        return f"{where} {record['runner']}: scratch {record['scratch_bytes'] / 1e6:.2f} MB"
    speeds = ", ".join(f"{name} {entry['median'] * 1e6:.1f} µs" for name, entry in record["runners"].items())
    failed = "".join(f"; {name} FAILED: {reason}" for name, reason in record["failed"].items())
    ratio = f"; ratio {record['ratio']:.2f} ({record['best_peer']})" if record.get("ratio") is not None else ""
    return f"{where} {record['mode']}: {speeds}{ratio}{failed}"


def _run_section(name: str, options: argparse.Namespace, results: dict[str, Any], out: Path) -> None:
    """Measure one section anew, saving after every record."""
    runs: list[dict[str, Any]] = []
    for threads in _thread_counts(name, options.threads):
        for k, run in enumerate(measure(name, _settings(name, options, threads))):
            if k == 0:
                runs.append(run)
                results["sections"][name] = runs
                print(f"{name}, {threads} thread(s)", file=sys.stderr)
                for runner, reason in run["missing"].items():
                    print(f"  missing: {runner} ({reason})", file=sys.stderr)
            else:
                print(f"  {_line(run['records'][-1])}", file=sys.stderr, flush=True)
            save(results, out)


def _disagreements(results: dict[str, Any], names: Sequence[str]) -> int:
    runs = [run for name in names for run in results["sections"][name]]
    return sum(len(record.get("failed", ())) for run in runs for record in run["records"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 1 if a runner disagreed or something failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments.insert(0, "grid")
    options = _parser().parse_args(arguments)
    try:
        if options.command == "plot":
            for path in draw(load(options.results), options.out or options.results.parent):
                print(path)
            return 0
        if options.command == "readme":
            write(load(options.results), options.readme)
            print(options.readme)
            return 0
        out = options.out or (QUICK_OUT if options.quick else OUT)
        names = list(SECTIONS) if options.command == "all" else [options.command]
        results = load_or_empty(out / "results.json")
        for name in names:
            _run_section(name, options, results, out)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(out / "results.json")
    print(out / "results.md")
    if failed := _disagreements(results, names):
        print(f"error: {failed} runner(s) disagreed or failed, named in the report", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that workers are stopped too
    raise SystemExit(main())
