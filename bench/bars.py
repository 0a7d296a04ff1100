"""Where fastrnn must land: the bars, and whether the measured records clear them.

A bar is one number over a set of measurements: the worst of them or their geometric mean. It passes only if everything
it speaks of was measured, beside every peer it names; else it is "incomplete", or "fail" if it fails already.
Quick runs are no measurement and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .problem import GRID_CELLS, GRID_SHAPES, Shape

Sections = dict[str, list[dict[str, Any]]]
Record = dict[str, Any]

COMPILED = "fastrnn-cython"
_RIVALS = {"forward": ("torch", "onnxruntime", "jax"), "training": ("torch", "jax")}


def geometric_mean(values: Iterable[float]) -> float:
    """The n-th root of the product of n positive values.

    Raises
    ------
    ValueError
        There are none, or one is not positive.

    Examples
    --------
    >>> geometric_mean([1.0, 4.0, 2.0])
    2.0
    """
    logs = [math.log(value) for value in values]
    if not logs:
        raise ValueError("values must not be empty")
    return math.exp(math.fsum(logs) / len(logs))


@dataclass(frozen=True)
class Value:
    """One measurement that a bar speaks of; ``fair`` if all the peers it is to be held against took part; ``at_limit``:
    what it would be if we took no longer than the machine allows (see bench/limits.py), or None."""

    label: str
    value: float
    fair: bool = True
    at_limit: float | None = None


@dataclass(frozen=True)
class Bar:
    """A bar.

    Attributes
    ----------
    name : str
    values : callable
        From the sections to the measurements it speaks of.
    expected : int
        How many those must be.
    limit : float
    at_least : bool
        The limit is a floor; otherwise a ceiling.
    mean : bool
        Judge the geometric mean instead of the worst value.
    """

    name: str
    values: Callable[[Sections], Iterator[Value]]
    expected: int
    limit: float
    at_least: bool = True
    mean: bool = False

    def judge(self, sections: Sections) -> dict[str, Any]:
        """One entry of ``bars`` in the results."""
        values = list(self.values(sections))
        verdict: dict[str, Any] = {
            "name": self.name,
            "bar": f"{'geometric mean ' if self.mean else ''}{'≥' if self.at_least else '≤'} {self.limit:g}",
            "value": None,
            "at_limit": None,
            "worst": None,
            "measured": len(values),
            "expected": self.expected,
            "status": "not measured",
        }
        if not values:
            return verdict
        worst = (min if self.at_least else max)(values, key=lambda item: item.value)
        number = self._number([item.value for item in values])
        at_limit = [item.at_limit for item in values if item.at_limit is not None]
        cleared = number >= self.limit if self.at_least else number <= self.limit
        whole = len(values) >= self.expected and all(item.fair for item in values)
        verdict.update(
            value=number,
            at_limit=self._number(at_limit) if len(at_limit) == len(values) else None,
            worst=f"{worst.label}: {worst.value:.3g}",
            status="fail" if not cleared else "pass" if whole else "incomplete",
        )
        return verdict

    def _number(self, values: list[float]) -> float:
        if self.mean:
            return geometric_mean(values)
        return min(values) if self.at_least else max(values)


def _records(sections: Sections, section: str) -> Iterator[tuple[int, Record]]:
    """(threads, record) of every run that is a measurement."""
    for run in sections.get(section, []):
        if not run["settings"]["quick"]:
            for record in run["records"]:
                yield run["threads"], record


def _label(threads: int, record: Record) -> str:
    shape = Shape(record["N"], record["T"], record["D"], record["H"])
    mode = f" {record['mode']}" if "mode" in record else ""
    return f"{record['cell']} {shape}{mode}, {threads} thread{'s' if threads > 1 else ''}"


def _speed_up(record: Record) -> float | None:
    """Our time over what the machine allows."""
    limit = record.get("limit")
    return None if limit is None else float(record["runners"][COMPILED]["median"] / limit)


def _times(value: float, factor: float | None) -> float | None:
    return None if factor is None else value * factor


def _against_peers(mode: str, cells: tuple[str, ...] = GRID_CELLS) -> Callable[[Sections], Iterator[Value]]:
    def values(sections: Sections) -> Iterator[Value]:
        for threads, record in _records(sections, "grid"):
            if record["mode"] == mode and record["cell"] in cells and record["ratio"] is not None:
                fair = record["ours"] == COMPILED and all(peer in record["runners"] for peer in _RIVALS[mode])
                at_limit = _times(record["ratio"], _speed_up(record) if fair else None)
                yield Value(_label(threads, record), record["ratio"], fair, at_limit)

    return values


def _share(sections: Sections) -> Iterator[Value]:
    for threads, record in _records(sections, "grid"):
        large = record["mode"] == "training" and record["N"] >= 16 and record["H"] >= 128
        if threads == 1 and large and record["share"] is not None:
            yield Value(_label(threads, record), record["share"], record["ours"] == COMPILED)


def _scaling(large_batch: bool) -> Callable[[Sections], Iterator[Value]]:
    """One thread's time over that of two."""

    def values(sections: Sections) -> Iterator[Value]:
        for threads, record in _records(sections, "threads"):
            chosen = record["N"] >= 16 if large_batch else record["N"] == 1 and record["H"] >= 256
            if chosen and threads == 2 and record["one_over_all"] is not None:
                yield Value(_label(threads, record), record["one_over_all"])

    return values


def _over_reference(small: bool) -> Callable[[Sections], Iterator[Value]]:
    """The NumPy backend's time over the compiled one's."""

    def values(sections: Sections) -> Iterator[Value]:
        for threads, record in _records(sections, "grid"):
            chosen = not small or (record["N"] == 1 and record["H"] <= 128)
            if chosen and record["ours"] == COMPILED and "fastrnn-numpy" in record["ratios"]:
                yield Value(_label(threads, record), record["ratios"]["fastrnn-numpy"])

    return values


def _step(H: int) -> Callable[[Sections], Iterator[Value]]:
    """Microseconds."""

    def values(sections: Sections) -> Iterator[Value]:
        for threads, record in _records(sections, "step"):
            if record["H"] == H and record["N"] == 1 and COMPILED in record["runners"]:
                at_limit = _times(1e6, record.get("limit"))
                yield Value(_label(threads, record), record["runners"][COMPILED]["median"] * 1e6, at_limit=at_limit)

    return values


def _ragged(sections: Sections) -> Iterator[Value]:
    for threads, record in _records(sections, "ragged"):
        if COMPILED in record["ragged_over_padded"]:
            yield Value(_label(threads, record), record["ragged_over_padded"][COMPILED])


def _memory(sections: Sections) -> Iterator[Value]:
    """Megabytes."""
    for threads, record in _records(sections, "memory"):
        if record["runner"] == COMPILED:
            yield Value(_label(threads, record), record["scratch_bytes"] / 1e6)


def _import(sections: Sections) -> Iterator[Value]:
    for _, record in _records(sections, "import"):
        if record["module"] == "fastrnn":
            yield Value("import fastrnn", record["over_scipy_linalg"])


_GRID = len(GRID_CELLS) * len(GRID_SHAPES)
_LARGE = sum(shape.N >= 16 for shape in GRID_SHAPES)
_LONE = sum(shape.N == 1 and shape.H >= 256 for shape in GRID_SHAPES)
_SMALL = sum(shape.N == 1 and shape.H <= 128 for shape in GRID_SHAPES)
_SHARED = sum(shape.N >= 16 and shape.H >= 128 for shape in GRID_SHAPES)
_CELLS = len(GRID_CELLS)

BARS = (
    Bar("forward, best peer over ours, every cell", _against_peers("forward"), 2 * _GRID, 1.0),
    Bar("forward, best peer over ours", _against_peers("forward"), 2 * _GRID, 1.6, mean=True),
    Bar("training, best peer over ours, every cell", _against_peers("training"), 2 * _GRID, 1.0),
    *(
        Bar(f"training, {cell}", _against_peers("training", (cell,)), 2 * len(GRID_SHAPES), limit, mean=True)
        for cell, limit in (("lstm", 1.6), ("gru", 2.5), ("rnn_tanh", 3.0))
    ),
    Bar("share of the FMA peak, training, N ≥ 16, H ≥ 128, 1 thread", _share, _CELLS * _SHARED, 0.85),
    Bar("2 threads over 1, N ≥ 16", _scaling(True), 2 * _CELLS * _LARGE, 1.8),
    Bar("2 threads over 1, N = 1, H ≥ 256", _scaling(False), 2 * _CELLS * _LONE, 1.5),
    Bar("compiled over NumPy backend, every cell", _over_reference(False), 4 * _GRID, 1.0),
    Bar("compiled over NumPy backend, N = 1, H ≤ 128", _over_reference(True), 4 * _CELLS * _SMALL, 5.0),
    Bar("streaming step, H32, µs", _step(32), 2 * _CELLS, 2.0, at_least=False),
    Bar("streaming step, H128, µs", _step(128), 2 * _CELLS, 4.0, at_least=False),
    Bar("ragged over padded time", _ragged, 8 * _CELLS, 0.6, at_least=False),
    Bar("inference scratch beyond y, MB", _memory, 3 * _CELLS, 8.0, at_least=False),
    Bar("import over scipy.linalg", _import, 1, 1.25, at_least=False),
)


def judge(sections: Sections) -> list[dict[str, Any]]:
    """Every bar's entry, in order."""
    return [bar.judge(sections) for bar in BARS]
