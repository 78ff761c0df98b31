#!/usr/bin/env python3
"""Runs a gateway for ten minutes under mixed traffic while its policy changes.

Behind it are nginx (REST) and git http-backend. REST clients ask with tokens that stay, that are being taken
back, that are gone, and that never were; git clients clone, push, fetch, and try tokens that are gone. Each
second one token is taken back, half a second later another file changes.

It fails where a permitted request fails, where one is let through that should not be (a token that was taken
back is refused from the moment that the generation without it is in force: by what clients get, and by each
line of the audit log), where an audit line is missing, where the gateway does not end in order, and where its
memory grows.

The result goes to target/bench/soak.json, and in short to standard output."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import accounting
import machine
import repositories
import stage as stages
import tokens
from configurations import Listen
from processes import BenchError, Port, Processes, end_on_signals
from run import OUTPUT, say
from soak_policy import Audit, Policy, metrics, read_audit
from soak_traffic import Client, Git, Rest, Tally
from stage import PROGRAMS, ROOT, Running, Stage
from verify import metric, until

KEPT, REST_CLIENTS, REPOSITORIES = 500, 4, 3
MEBIBYTE = 1 << 20
GROWTH_MEBIBYTES = 6.0
"""Below this, what memory grew by in the run is taken for noise of the allocator."""
SHOWN = 20


@dataclass(frozen=True)
class Memory:
    """Resident memory over time, after the gateway has warmed up."""

    first: float
    last: float
    peak: float
    slope: float
    """MiB an hour, by least squares."""
    grown: float
    """What the slope makes in the time that was looked at, MiB."""


def memory_of(samples: Sequence[tuple[float, float]]) -> Memory:
    """Takes pairs of seconds and MiB; the first fifth is warm-up."""
    warm = samples[len(samples) // 5 :]
    if len(warm) < 2:
        raise BenchError("too short to tell how memory grows")
    middle = sum(at for at, _ in warm) / len(warm)
    mean = sum(size for _, size in warm) / len(warm)
    spread = sum((at - middle) ** 2 for at, _ in warm)
    slope = sum((at - middle) * (size - mean) for at, size in warm) / spread
    grown = slope * (warm[-1][0] - warm[0][0])
    return Memory(warm[0][1], warm[-1][1], max(size for _, size in samples), slope * 3600, grown)


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__, formatter_class=form)
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="how long (default: 600)")
    parser.add_argument(
        "--rate", type=float, default=400, metavar="N", help="REST requests a second (default: 400)"
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="workers of the gateway (default: 2)"
    )
    parser.add_argument(
        "--slope", type=float, default=30, metavar="N", help="the most MiB an hour (default: 30)"
    )
    parser.add_argument(
        "--portcullis", type=Path, metavar="PATH", help="the binary (default: target/release/portcullis)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave configuration, logs and audit log in target/bench/soak-…"
    )
    options = parser.parse_args()
    if options.seconds < 10:
        parser.error("--seconds is at least 10")
    return options


def start(stage: Stage, options: argparse.Namespace) -> tuple[Running, Policy]:
    """Starts the host and the gateway, with as many tokens to take back as there are seconds."""
    stages.prepare(stage)
    for number in range(REPOSITORIES):
        repositories.seeded(stage.repositories / "acme" / f"r{number:04}.git", number)
    everyone = [tokens.make(number, "soak") for number in range(KEPT + options.seconds)]
    policy = Policy(stage.directory / "portcullis/policies", everyone[:KEPT], everyone[KEPT:])
    listen = Listen(Port(), Port(), stage.certificate, stage.key)
    running = Running(PROGRAMS[0], listen.plain, listen.tls)
    stages.start_gateway(stage, running, listen, policy.files(), options.workers)
    if running.control is None:
        raise BenchError("the gateway has no control listener")
    policy.control = running.control.number
    return running, policy


def clients(
    stage: Stage, running: Running, policy: Policy, work: tuple[threading.Event, Tally, float]
) -> list[Client]:
    """Everybody who makes traffic."""
    stop_event, tally, rate = work
    port = running.plain.number
    rest = [
        Rest(number, port, policy, stop_event, tally, rate / REST_CLIENTS) for number in range(REST_CLIENTS)
    ]
    git = [
        Git(policy.kept[number], port, policy, stop_event, tally, stage.directory / "work" / str(number))
        for number in range(REPOSITORIES)
    ]
    return [*rest, *git]


def change_policy(
    stage: Stage, running: Running, policy: Policy, seconds: int, tally: Tally
) -> list[tuple[float, float]]:
    """Changes policy twice a second, and looks at memory meanwhile: pairs of seconds and MiB."""
    samples = []
    began = time.monotonic()
    for second in range(seconds):
        policy.take_back()
        wait_until(began + second + 0.5)
        policy.edit(second + 1)
        samples.append((time.monotonic() - began, accounting.resident_bytes(running.sessions) / MEBIBYTE))
        stage.processes.check()
        if second % 30 == 29:
            done = sum(tally.counts.values())
            say(
                f"{second + 1} s: {done} operations, {len(tally.failures)} failures, {samples[-1][1]:.1f} MiB"
            )
        wait_until(began + second + 1)
    return samples


def wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def finish(stage: Stage, running: Running, policy: Policy, tally: Tally) -> Audit:
    """Looks at the counters, ends the gateway, and reads its audit log."""
    # Those who left a moment ago may still be on their way out.
    until(lambda: metric(metrics(policy.control), "portcullis_requests_in_flight") == 0)
    text = metrics(policy.control)
    for name in (
        "portcullis_requests_in_flight",
        "portcullis_audit_dropped_total",
        "portcullis_snapshot_stale",
    ):
        if metric(text, name) != 0:
            tally.fail(f"`{name}` is {metric(text, name)} at the end")
    code = stage.processes.end("portcullis", 60)
    if code != 0:
        tally.fail(f"the gateway ended with {code}")
    if running.audit is None:
        raise BenchError("the gateway has no audit log")
    with running.audit.open() as lines:
        audit = read_audit(lines, policy.since)
    if audit.lines < metric(text, "portcullis_audit_lines_total"):
        tally.fail(f"{audit.lines} audit lines in the file, more were counted")
    asked = sum(count for what, count in tally.counts.items() if what.startswith("rest"))
    if audit.lines < asked:
        tally.fail(f"{audit.lines} audit lines for {asked} REST requests and git")
    if audit.refused_after == 0 or audit.allowed_before == 0:
        tally.fail("no token was seen on both sides of being taken back")
    tally.failures += audit.failures
    return audit


def soak(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    """The whole run; what it found."""
    binary = (options.portcullis or ROOT / "target/release/portcullis").resolve()
    if not binary.exists():
        raise BenchError(f"`{binary}` is not there; run: cargo build --release")
    tally, stop_event = Tally(), threading.Event()
    with Processes(directory) as processes:
        stage = Stage(directory, processes, None, None, binary)
        running, policy = start(stage, options)
        working = clients(stage, running, policy, (stop_event, tally, options.rate))
        say(f"{options.seconds} s with {len(working)} clients")
        try:
            for client in working:
                client.start()
            samples = change_policy(stage, running, policy, options.seconds, tally)
        finally:
            stop_event.set()
            for client in working:
                if client.ident:
                    client.join(120)
        if any(client.is_alive() for client in working):
            tally.fail("a client hangs")
        audit = finish(stage, running, policy, tally)
        version = machine.said([str(binary), "--version"])
    memory = memory_of(samples)
    if memory.slope > options.slope and memory.grown > GROWTH_MEBIBYTES:
        tally.fail(f"memory grows by {memory.slope:.1f} MiB an hour, {memory.grown:.1f} MiB in this run")
    return {
        "version": version,
        "seconds": options.seconds,
        "operations": dict(sorted(tally.counts.items())),
        "generations": len(policy.delays) + 1,
        "slowest_change_seconds": max(policy.delays),
        "audit_lines": audit.lines,
        "allowed_before_taken_back": audit.allowed_before,
        "refused_after_taken_back": audit.refused_after,
        "cut_when_taken_back": audit.cut,
        "memory": vars(memory),
        "resident_mebibytes": [[round(at, 1), round(size, 2)] for at, size in samples],
        "failures": tally.failures,
    }


def tell(found: dict[str, object], memory: dict[str, float], failures: list[str]) -> None:
    """The result, for people."""
    operations = found["operations"]
    if isinstance(operations, dict):
        for what, count in operations.items():
            print(f"{count:9,} {what}")
    print(
        f"{found['audit_lines']:9,} audit lines; tokens that were taken back: {found['allowed_before_taken_back']:,} "
        f"requests before, {found['refused_after_taken_back']:,} refused after; "
        f"{found['cut_when_taken_back']:,} cut under way"
    )
    print(
        f"{found['generations']:9,} generations, the slowest in force after {found['slowest_change_seconds']:.2f} s"
    )
    print(
        f"memory: {memory['first']:.1f} MiB after warm-up, {memory['last']:.1f} at the end, peak {memory['peak']:.1f}; "
        f"slope {memory['slope']:+.1f} MiB an hour ({memory['grown']:+.1f} MiB in this run)"
    )
    for failure in failures[:SHOWN]:
        print(f"FAILED: {failure}")
    if failures:
        print(f"{len(failures)} failures")


def main() -> int:
    options = arguments()
    end_on_signals()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="soak-", dir=OUTPUT))
    try:
        found = soak(options, directory)
    except BenchError as error:
        say(f"soak: {error}")
        return 1
    except KeyboardInterrupt:
        say("soak: stopped")
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    (OUTPUT / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    memory, failures = found["memory"], found["failures"]
    if not isinstance(memory, dict) or not isinstance(failures, list):
        raise TypeError("the result has another form")
    tell(found, memory, failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
