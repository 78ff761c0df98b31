"""What Portcullis is to cost at most, and what it aims at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from report import Sample, of, ratio

NAME = "portcullis"
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Target:
    """One figure with its bounds."""

    case: str
    figure: str
    """`cpu`: processor time; `wall`: how long the client waited; `memory`: peak in MiB."""
    versus: str | None
    """The program that it is a share of; `None` where the figure stands by itself."""
    must: float
    aim: float

    def measured(self, samples: Sequence[Sample]) -> float | None:
        """The figure; `None` where it was not measured."""
        if self.versus is None:
            peaks = [sample.peak_bytes / MEBIBYTE for sample in of(samples, self.case, NAME)]
            return max(peaks, default=None)
        share = ratio(samples, self.case, (NAME, self.versus), cost if self.figure == "cpu" else wall)
        return share.median if share else None

    def verdict(self, value: float) -> str:
        """Whether the bounds are kept."""
        if value <= self.aim:
            return "aim met"
        return "met" if value <= self.must else "**missed**"


def cost(sample: Sample) -> float:
    return sample.cost


def wall(sample: Sample) -> float:
    return sample.seconds


TARGETS = [
    Target("h1-c64", "cpu", "nginx-plain", 1.25, 1.0),
    Target("h1-c64", "cpu", "nginx-authreq", 0.5, 0.4),
    Target("tok1k-c64", "cpu", "nginx-plain", 1.25, 1.0),
    Target("tok1k-c64", "cpu", "nginx-authreq", 0.5, 0.4),
    Target("deny-c64", "cpu", "nginx-map", 1.1, 0.9),
    Target("tls-c64", "cpu", "nginx-plain", 1.1, 0.9),
    Target("tls-new-c16", "cpu", "nginx-plain", 0.7, 0.6),
    Target("h2-c8m16", "cpu", "nginx-plain", 1.25, 1.0),
    Target("dl64", "cpu", "nginx-plain", 1.3, 1.0),
    Target("up64", "cpu", "nginx-plain", 1.3, 1.0),
    Target("clone", "wall", "direct", 1.05, 1.02),
    Target("clone", "memory", None, 64, 64),
    Target("push-1g", "memory", None, 64, 64),
]


def missed(samples: Sequence[Sample]) -> list[Target]:
    """The targets that were measured and are not kept."""
    values = ((target, target.measured(samples)) for target in TARGETS)
    return [target for target, value in values if value is not None and value > target.must]
