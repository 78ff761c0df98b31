"""The report as Markdown, and the sections of the documentation that are made of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from cases import CASES, Case
from processes import BenchError
from report import Sample, Spread, of, ratio
from stage import PROGRAMS
from targets import MEBIBYTE, TARGETS, cost, wall

BEGIN = "<!-- bench: begin, written by `make bench ARGS=--readme` -->"
END = "<!-- bench: end -->"
COLUMNS = ("portcullis", "nginx-plain", "nginx-map", "nginx-authreq", "haproxy")
TITLES = {program.name: program.title for program in PROGRAMS}


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)]) + "\n"


def unit(case: Case) -> str:
    return "ms/GiB" if case.bodies else "µs"


def summary(samples: Sequence[Sample]) -> str:
    """One line for each case: everybody's share of what nginx takes."""
    rows = []
    for case in CASES:
        base = of(samples, case.name, case.base)
        if not base or not of(samples, case.name, "portcullis"):
            continue
        cells = [case.title]
        for name in COLUMNS:
            share = ratio(samples, case.name, (name, case.base), cost)
            if share is None or share.high == 0:
                cells.append("")
            elif name == case.base:
                own = statistics.median(sample.cost for sample in base)
                cells.append(f"1 ({own:,.{0 if case.bodies else 1}f} {unit(case)})")
            else:
                cells.append(f"**{share.median:.2f}**" if name == "portcullis" else f"{share.median:.2f}")
        rows.append(cells)
    return table(["", *(TITLES[name] for name in COLUMNS)], rows)


def details(samples: Sequence[Sample], case: Case) -> str:
    """Everything about one case."""
    rows = []
    for program in PROGRAMS:
        own = of(samples, case.name, program.name)
        if not own:
            continue
        share = ratio(samples, case.name, (program.name, case.base), cost)
        took = Spread.of([sample.seconds for sample in own])
        cells = [program.title, program.check]
        measured = any(sample.cpu_nanoseconds for sample in own)
        cells.append(
            Spread.of([sample.cost for sample in own]).show(0 if case.bodies else 1) if measured else "-"
        )
        cells.append(share.show(2) if share and measured else "-")
        if case.bodies:
            waited = ratio(samples, case.name, (program.name, "direct"), wall)
            rate = Spread.of([sample.bytes / MEBIBYTE / sample.seconds for sample in own])
            cells += [f"{rate.median:,.0f}", took.show(2), waited.show(3) if waited else "-"]
        else:
            cells.append(f"{statistics.median(sample.requests / sample.seconds for sample in own):,.0f}")
            for values in ([sample.p50 for sample in own], [sample.p99 for sample in own]):
                known = [value for value in values if value is not None]
                cells.append(f"{statistics.median(known):,.0f}" if known else "-")
        cells.append(f"{max(sample.peak_bytes for sample in own) / MEBIBYTE:,.0f}" if measured else "-")
        rows.append(cells)
    costs = f"CPU {unit(case)}" + ("" if case.bodies else "/request")
    speed = ["MiB/s", "wall s", "wall to direct"] if case.bodies else ["requests/s", "p50 µs", "p99 µs"]
    head = ["program", "checks", costs, f"to {TITLES[case.base]}", *speed, "peak MiB"]
    return f"### {case.name}: {case.title}\n\n{table(head, rows)}"


def targets(samples: Sequence[Sample]) -> str:
    """Each target, and whether it is met."""
    rows = []
    for target in TARGETS:
        value = target.measured(samples)
        versus = f"to {TITLES[target.versus]}" if target.versus else "peak MiB"
        digits = 0 if target.figure == "memory" else 3 if target.figure == "wall" else 2
        bounds = [f"{bound:g}" for bound in (target.must, target.aim)]
        told = ["-", "not measured"] if value is None else [f"{value:.{digits}f}", target.verdict(value)]
        rows.append([target.case, f"{target.figure} {versus}", *bounds, *told])
    return table(["case", "figure of Portcullis", "must", "aim", "measured", ""], rows)


def targets_json(samples: Sequence[Sample]) -> list[dict[str, object]]:
    """Each target with what was measured, for programs."""
    listed = []
    for target in TARGETS:
        value = target.measured(samples)
        met = None if value is None else value <= target.must
        aim_met = None if value is None else value <= target.aim
        listed.append({**asdict(target), "measured": value, "must_met": met, "aim_met": aim_met})
    return listed


def noise(samples: Sequence[Sample]) -> str:
    """How much to believe it."""
    spreads = []
    for case in CASES:
        for program in PROGRAMS:
            own = [sample.cost for sample in of(samples, case.name, program.name) if sample.cpu_nanoseconds]
            if len(own) > 1:
                spreads.append((max(own) - min(own)) / statistics.median(own))
    foreign = [sample.foreign_share for sample in samples]
    told = f"Others took {statistics.median(foreign):.0%} of the proxies' core (at most {max(foreign):.0%})."
    if spreads:
        told += (
            f" Between rounds the processor time of one program in one case differs by {statistics.median(spreads):.0%}"
            f" (at most {max(spreads):.0%}), from the least to the most."
        )
    return told


def page(machine: Mapping[str, str], samples: Sequence[Sample]) -> str:
    """The whole report."""
    facts = table(["", ""], [[name, value] for name, value in machine.items()])
    measured = {sample.case for sample in samples}
    cases = [details(samples, case) for case in CASES if case.name in measured]
    return "\n".join(
        [
            "## Summary\n",
            "Processor time for a request, or for a GiB, as a share of what nginx takes. Less is better.\n",
            summary(samples),
            "## Targets\n",
            targets(samples),
            "## Machine\n",
            facts,
            noise(samples) + "\n",
            "## Cases\n",
            "Median (least–most) over the rounds.\n",
            *cases,
        ]
    )


def replace_section(file: Path, text: str) -> None:
    """Puts `text` between the markers of a file."""
    whole = file.read_text()
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"`{file}` has no section for the bench: `{BEGIN}` to `{END}`")
    file.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")
