"""Figures to tables: ratios inside a round, medians over rounds, targets met or not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One program in one case in one round."""

    case: str
    program: str
    round: int
    requests: int
    seconds: float
    cpu_nanoseconds: int
    peak_bytes: int
    foreign_share: float
    """How much of the proxy's core others took meanwhile."""
    bytes: int = 0
    p50: float | None = None
    p99: float | None = None

    @property
    def cost(self) -> float:
        """Microseconds of processor time for a request; for bodies, milliseconds for a GiB."""
        if self.bytes:
            return self.cpu_nanoseconds / 1e6 / (self.bytes / (1 << 30))
        return self.cpu_nanoseconds / 1e3 / self.requests

    def to_json(self) -> dict[str, object]:
        """All fields, and the cost that follows from them."""
        return {**asdict(self), "cost": self.cost}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Sample":
        """What `to_json` gave."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value[name] for name in names})


@dataclass(frozen=True)
class Spread:
    """A median with its extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def of(samples: Sequence[Sample], case: str, program: str) -> list[Sample]:
    """The samples of one program in one case, by round."""
    return sorted((s for s in samples if (s.case, s.program) == (case, program)), key=lambda s: s.round)


def ratio(
    samples: Sequence[Sample], case: str, pair: tuple[str, str], figure: Callable[[Sample], float]
) -> Spread | None:
    """A figure of the first program as a share of the second's, each round by itself; `None` where they share
    no round."""
    above = {sample.round: figure(sample) for sample in of(samples, case, pair[0])}
    below = {sample.round: figure(sample) for sample in of(samples, case, pair[1])}
    shares = [
        above[number] / below[number] for number in sorted(above.keys() & below.keys()) if below[number] > 0
    ]
    return Spread.of(shares) if shares else None
