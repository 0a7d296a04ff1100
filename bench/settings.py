"""The options of a run, as one value that can be sent to a worker."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .problem import GRID_CELLS, GRID_SHAPES, QUICK_SHAPES, Shape
from .runners import RUNNERS
from .timing import PATIENCE_SECONDS, SAMPLE_SECONDS, SETTLE_SECONDS, Schedule

MODES = ("forward", "training")


@dataclass(frozen=True)
class Settings:
    """What to measure, and for how long.

    Attributes
    ----------
    threads : int
    runners, cells, shapes, modes : tuple of str
    rounds : int
        Rounds at least; ``seconds`` per record may make them more.
    seconds : float
    quick : bool
        Tiny sizes everywhere: a test of the program, no measurement.
    """

    threads: int = 1
    runners: tuple[str, ...] = tuple(RUNNERS)
    cells: tuple[str, ...] = GRID_CELLS
    shapes: tuple[str, ...] = field(default=tuple(str(shape) for shape in GRID_SHAPES))
    modes: tuple[str, ...] = MODES
    rounds: int = 7
    seconds: float = 1.0
    quick: bool = False

    @classmethod
    def quickly(cls, **changes: Any) -> Settings:
        """Tiny shapes, three rounds."""
        options: dict[str, Any] = {
            "shapes": tuple(str(shape) for shape in QUICK_SHAPES),
            "rounds": 3,
            "seconds": 0.0,
            "quick": True,
        }
        return cls(**{**options, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The inverse of `to_dict`."""
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    def parsed_shapes(self) -> list[Shape]:
        """The shapes."""
        return [Shape.parse(text) for text in self.shapes]

    def schedule(self) -> Schedule:
        """How long one record lasts."""
        if self.quick:
            return Schedule(self.rounds, self.seconds, settle=0.0, sample=SAMPLE_SECONDS / 10)
        settle = SETTLE_SECONDS if self.threads > 1 else 0.0
        return Schedule(self.rounds, self.seconds, settle, patience=PATIENCE_SECONDS)
