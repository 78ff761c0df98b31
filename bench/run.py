#!/usr/bin/env python3
"""Measures Portcullis beside the programs that people use today: over the same host, on this machine, in one
run.

Every program is pinned to one core; the host behind (nginx) and the clients (wrk, h2load, git) share another
one. Each round measures every program once, in shuffled order; ratios are taken inside a round, then the
median over rounds. The cost of a request is the time that all threads of all processes of a program were on a
processor, from the kernel's accounting. It holds on a busy machine too; requests per second and latencies
hold much less.

Before anything is measured, each program must let pass and refuse what it should. Any answer that was not
asked for, and any line that the audit log lacks, ends the run.

The report goes to target/bench/results.md and results.json, and in short to standard output."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import accounting
import machine
import stage as stages
import tables
from bodies import BodyError
from cases import CASES, Case, named
from processes import BenchError, Processes, end_on_signals
from report import Sample, Spread, of, ratio
from stage import PROGRAMS, ROOT, Running, Stage
from targets import cost, missed
from verify import Audit, verify

OUTPUT = ROOT / "target" / "bench"
TRIES = 3
UNDER_WAY = 1024
"""How many requests may be under way when a client ends: more than any case has connections or streams."""

QUICK_CASES = "h1-c64,tok1k-c64,deny-c64,tls-c64,tls-new-c16,h2-c8m16,dl64,up64,clone"
QUICK_PEERS = "portcullis,nginx-plain,nginx-map,nginx-authreq,direct"


def arguments() -> argparse.Namespace:
    names = ",".join(program.name for program in PROGRAMS)
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__, formatter_class=form)
    parser.add_argument("--cases", metavar="A,B", help="only these cases, or those that begin so")
    parser.add_argument("--peers", metavar="A,B", help=f"only these programs; all: {names}")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how often each program is measured (default: 5)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="how long each measurement takes, whole seconds for wrk and h2load (default: 2)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two to three minutes: fewer cases and programs, 2 rounds, 1 second",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the order of programs (default: 1)"
    )
    parser.add_argument(
        "--portcullis", type=Path, metavar="PATH", help="the binary (default: target/release/portcullis)"
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the tables in README.md and docs/performance.md"
    )
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        metavar="FILE",
        help="measure nothing; report an earlier results.json",
    )
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    parser.add_argument(
        "--keep", action="store_true", help="leave configurations and logs in target/bench/run-…"
    )
    parser.add_argument("--list", action="store_true", help="tell cases and programs, and end")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.cases = options.cases or (QUICK_CASES if options.quick else "")
    options.peers = (options.peers or (QUICK_PEERS if options.quick else names)).split(",")
    unknown = set(options.peers) - {program.name for program in PROGRAMS}
    if unknown:
        parser.error(f"no program {', '.join(sorted(unknown))}; --list tells which there are")
    return options


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(stage: Stage, case: Case, running: Running, number: int, seconds: float) -> Sample:
    """One program in one case, once; again where the machine was too busy for a single request."""
    for _ in range(TRIES):
        sample = attempt(stage, case, running, number, seconds)
        if sample.requests:
            return sample
        say(f"{case.name}, {running.program.name}: no request in {seconds:g} s; once more")
    raise BenchError(f"{case.name}, {running.program.name}: no request was answered, {TRIES} times")


def attempt(stage: Stage, case: Case, running: Running, number: int, seconds: float) -> Sample:
    """One measurement."""
    audit = Audit(running) if running.audit else None
    accounting.reset_peak(running.sessions)
    busy, cpu = accounting.busy_nanoseconds(stage.proxy_core), accounting.cpu_nanoseconds(running.sessions)
    start = time.monotonic_ns()
    try:
        done = case.measure(stage, running, seconds)
    except (BenchError, BodyError, OSError) as error:
        raise BenchError(f"{case.name}, {running.program.name}: {error}") from error
    cpu = accounting.cpu_nanoseconds(running.sessions) - cpu
    busy = accounting.busy_nanoseconds(stage.proxy_core) - busy
    took = time.monotonic_ns() - start
    stage.processes.check()
    if done.refused != (done.requests if case.refused else 0):
        raise BenchError(
            f"{case.name}, {running.program.name}: {done.refused} of {done.requests} requests were refused"
        )
    if audit:
        audit.check(done.requests, UNDER_WAY)
    return Sample(
        case=case.name,
        program=running.program.name,
        round=number,
        requests=done.requests,
        seconds=done.seconds,
        cpu_nanoseconds=cpu,
        peak_bytes=accounting.peak_bytes(running.sessions),
        foreign_share=min(1.0, max(0, busy - cpu) / took),
        bytes=done.bytes,
        p50=done.p50,
        p99=done.p99,
    )


def measure_all(stage: Stage, cases: list[Case], options: argparse.Namespace) -> list[Sample]:
    """Every round of every case."""
    samples: list[Sample] = []
    order = random.Random(options.seed)
    for case in cases:
        taking_part = [running for name, running in stage.running.items() if name in case.programs]
        rounds = min(options.rounds, case.rounds)
        say(f"{case.name}: {case.title}")
        for number in range(rounds):
            for running in order.sample(taking_part, len(taking_part)):
                samples.append(measure(stage, case, running, number, options.seconds))
        for running in taking_part:
            tell(samples, case, running)
    return samples


def tell(samples: list[Sample], case: Case, running: Running) -> None:
    """A line on what one program took in one case."""
    name = running.program.name
    own = of(samples, case.name, name)
    shown, compared = "-", "-"
    share = ratio(samples, case.name, (name, case.base), cost)
    if running.sessions:
        costs = Spread.of([sample.cost for sample in own])
        shown = f"{costs.show(0 if case.bodies else 1)} {tables.unit(case)}"
        compared = share.show(2) if share else "-"
    took = f"{Spread.of([sample.seconds for sample in own]).median:.2f} s" if case.bodies else ""
    say(f"  {name:14} {shown:34} {compared:18} {took}".rstrip())


def perform(options: argparse.Namespace, directory: Path) -> tuple[dict[str, str], list[Sample]]:
    """Starts everything, measures, and stops everything."""
    cases = named(options.cases) if options.cases else CASES
    binary = (options.portcullis or ROOT / "target/release/portcullis").resolve()
    if not binary.exists():
        raise BenchError(f"`{binary}` is not there; run: cargo build --release")
    proxy_core, load_core = stages.cores()
    with Processes(directory) as processes:
        stage = Stage(directory, processes, proxy_core, load_core, binary)
        say("making certificate, tokens and repositories")
        stages.prepare(stage)
        stages.prepare_repositories(stage, {case.name: case.repository for case in cases if case.repository})
        for program in PROGRAMS:
            if program.name in options.peers and any(program.name in case.programs for case in cases):
                say(f"starting and verifying {program.name}")
                verify(stage, stages.start(stage, program))
        facts = machine.facts(stage, options.rounds, options.seconds)
        return facts, measure_all(stage, cases, options)


def publish(facts: Mapping[str, str], samples: list[Sample], readme: bool) -> None:
    """Writes the report where it belongs."""
    page = tables.page(facts, samples)
    results = {
        "machine": facts,
        "targets": tables.targets_json(samples),
        "samples": [sample.to_json() for sample in samples],
    }
    (OUTPUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (OUTPUT / "results.md").write_text(f"# Portcullis beside its peers\n\n{page}")
    print(f"{tables.summary(samples)}\n{tables.targets(samples)}\n{tables.noise(samples)}")
    if readme:
        tables.replace_section(ROOT / "README.md", tables.summary(samples))
        tables.replace_section(ROOT / "docs" / "performance.md", page)


def main() -> int:
    options = arguments()
    if options.list:
        print("\n".join(f"{case.name:12} {case.title} ({', '.join(case.programs)})" for case in CASES))
        return 0
    end_on_signals()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=OUTPUT))
    try:
        if options.earlier:
            results = json.loads(options.earlier.read_text())
            facts, samples = results["machine"], [Sample.from_json(sample) for sample in results["samples"]]
        else:
            facts, samples = perform(options, directory)
        publish(facts, samples, options.readme)
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: stopped")
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    return 1 if options.strict and missed(samples) else 0


if __name__ == "__main__":
    sys.exit(main())
