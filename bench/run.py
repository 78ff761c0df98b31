#!/usr/bin/env python3
"""Measures Portcullis beside the programs that people use today, over the same host, on this machine, in one run.

Every program is pinned to one core; the host behind (nginx) and the clients (wrk, h2load, git) share another one. Each round measures
every program once, in shuffled order; ratios are taken inside a round, then the median over rounds. The cost of a request is the time that
all threads of all processes of a program spent on a processor, from the kernel's accounting. It holds where the machine is
busy with other things too; requests per second and latencies hold much less.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import accounting
import stage as stages
from cases import CASES, Case, named
from processes import BenchError, Processes
from report import Sample, Spread, of, ratio
from stage import PROGRAMS, ROOT, Running, Stage
from verify import Audit, verify

OUTPUT = ROOT / "target" / "bench"


def arguments() -> argparse.Namespace:
    names = ",".join(program.name for program in PROGRAMS)
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", metavar="A,B", help="only these, or those that begin so (default: all)")
    parser.add_argument("--peers", default=names, metavar="A,B", help=f"only these programs (default: {names})")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program is measured (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="how long each measurement takes (default: 2)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of programs (default: 1)")
    parser.add_argument("--portcullis", type=Path, metavar="PATH", help="the binary (default: target/release/portcullis)")
    parser.add_argument("--list", action="store_true", help="tell cases and programs, and end")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(stage: Stage, case: Case, running: Running, number: int, seconds: float) -> Sample:
    """One program in one case, once."""
    audit = Audit(running) if running.audit else None
    accounting.reset_peak(running.session)
    busy, cpu = accounting.busy_nanoseconds(stage.proxy_core), accounting.cpu_nanoseconds(running.session)
    start = time.monotonic_ns()
    done = case.measure(stage, running, seconds)
    cpu = accounting.cpu_nanoseconds(running.session) - cpu
    busy = accounting.busy_nanoseconds(stage.proxy_core) - busy
    took = time.monotonic_ns() - start
    stage.processes.check()
    if done.requests == 0 or done.refused != (done.requests if case.refused else 0):
        raise BenchError(f"{case.name}, {running.program.name}: {done.refused} of {done.requests} requests were refused")
    if audit:
        audit.check(done.requests, 1024)
    return Sample(
        case.name,
        running.program.name,
        number,
        done.requests,
        done.seconds,
        cpu,
        accounting.peak_bytes(running.session),
        max(0, busy - cpu) / took,
        done.bytes,
        done.p50,
        done.p99,
    )


def measure_all(stage: Stage, cases: list[Case], options: argparse.Namespace) -> list[Sample]:
    """Every round of every case."""
    samples: list[Sample] = []
    order = random.Random(options.seed)
    for case in cases:
        taking_part = [running for running in stage.running.values() if running.program.name in case.programs]
        for number in range(options.rounds):
            for running in order.sample(taking_part, len(taking_part)):
                sample = measure(stage, case, running, number, options.seconds)
                samples.append(sample)
        for running in taking_part:
            name = running.program.name
            costs = Spread.of([sample.cost for sample in of(samples, case.name, name)])
            share = ratio(samples, case.name, (name, case.base), lambda sample: sample.cost)
            say(f"{case.name:12} {name:14} {costs.show(1):28} {share.show(2) if share else '-'}")
    return samples


def main() -> int:
    options = arguments()
    if options.list:
        for case in CASES:
            print(f"{case.name:12} {case.title} ({', '.join(case.programs)})")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=OUTPUT))
    try:
        cases = named(options.cases) if options.cases else CASES
        wanted = options.peers.split(",")
        binary = (options.portcullis or ROOT / "target/release/portcullis").resolve()
        proxy_core, load_core = stages.cores()
        with Processes(directory) as processes:
            stage = Stage(directory, processes, proxy_core, load_core, binary, say)
            stages.prepare(stage)
            for program in PROGRAMS:
                if program.name in wanted and any(program.name in case.programs for case in cases):
                    verify(stage, stages.start(stage, program))
            measure_all(stage, cases, options)
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: stopped")
        return 130
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
