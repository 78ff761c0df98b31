"""Measures a gateway with a million declared tokens: how soon it serves, what memory it takes, and what a reload costs
the requests beside it.

Clients ask at a steady rate, far from what the gateway can do, so that what is measured is time and not
waiting. Rounds without and with reloads take turns; p99 counts, and by how much it differs within a pair."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import accounting
import load
import stage as stages
import tokens
from configurations import Listen
from load import Load
from processes import BenchError, Port, Processes
from soak_policy import metric, metrics
from stage import PROGRAMS, ROOT, Running, Stage

FILES = 4
CONNECTIONS, RATE = 8, 100
"""Connections, and requests a second on each."""
BETWEEN = 1.5
"""Seconds between two changes of policy."""
REST = 6
"""Seconds after which memory that a load took is given back."""
READY_SECONDS, RESIDENT_MIB, P99_MICROSECONDS = 3.0, 200.0, 1000.0
"""Budgets at a million tokens."""


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make bench-million ARGS=…", description=__doc__, formatter_class=form)
    parser.add_argument("--tokens", type=int, default=1_000_000, metavar="N", help="how many (default: 1000000)")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="pairs of rounds (default: 5)")
    parser.add_argument("--seconds", type=int, default=12, metavar="N", help="of a round (default: 12)")
    parser.add_argument(
        "--portcullis", type=Path, metavar="PATH", help="the binary (default: target/release/portcullis)"
    )
    return parser.parse_args()


def lines(first: int, count: int) -> str:
    """Tokens that nobody has, a line each: 5,000 users, 9,000 repositories."""
    return "".join(
        json.dumps(
            {
                "name": f"token {number}",
                "sha256": hashlib.sha256(f"million {number}".encode()).hexdigest(),
                "user": f"user{number % 5000}",
                "resource_owner": tokens.OWNER,
                "repositories": [f"r{number % 9000}"],
                "permissions": {"contents": "read"},
                "expires_at": "2999-01-31",
            }
        )
        + "\n"
        for number in range(first, first + count)
    )


def changing(number: int) -> str:
    """The one file that changes, with the one token that is used."""
    return f"# change {number}\n" + tokens.declaration([tokens.make(0)], "{ contents: read }")


class Changes(threading.Thread):
    """Changes one small file again and again, in one step each time."""

    def __init__(self, file: Path, first: int) -> None:
        super().__init__(daemon=True)
        self.file, self.number, self.ends = file, first, threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            self.number += 1
            new = self.file.with_suffix(".new")
            new.write_text(changing(self.number))
            new.replace(self.file)
            self.ends.wait(BETWEEN)

    def end(self) -> None:
        self.ends.set()
        self.join()


def ask(stage: Stage, running: Running, seconds: int) -> Load:
    url = f"http://127.0.0.1:{running.plain}/repos/{tokens.make(0).scope}/contents/README.md"
    header = f"Authorization: Bearer {tokens.make(0).text}"
    return load.h2load(
        url,
        CONNECTIONS,
        1,
        seconds,
        stage.load_core,
        [header],
        stage.directory / "h2load.log",
        ["--h1", f"--rps={RATE}"],
    )


def measure(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Measures and prints; gives the budgets that were missed."""
    say = lambda text: print(text, flush=True)  # noqa: E731
    stages.prepare(stage)
    share = options.tokens // FILES
    files = {f"tokens/many{part}.jsonl": lines(part * share, share) for part in range(FILES)}
    listen = Listen(Port(), Port(), stage.certificate, stage.key)
    running = Running(PROGRAMS[0], listen.plain, listen.tls)
    start = time.monotonic()
    stages.start_gateway(stage, running, listen, {**files, "tokens/changing.yaml": changing(0)}, 1)
    ready = time.monotonic() - start
    if running.control is None:
        raise BenchError("the gateway has no control listener")
    at_start = accounting.resident_bytes(running.sessions) / (1 << 20)
    time.sleep(REST)
    resident = accounting.resident_bytes(running.sessions) / (1 << 20)
    say(f"{options.tokens:,} tokens: serves after {ready:.1f} s; {at_start:.0f} MiB then, {resident:.0f} MiB at rest")
    changes = Changes(stage.directory / "portcullis/policies/tokens/changing.yaml", 0)
    generation = lambda: metric(metrics(running.control.number), "portcullis_snapshot_generation")  # noqa: E731
    moved, number = [], 0
    for pair in range(options.pairs):
        quiet = ask(stage, running, options.seconds)
        before = generation()
        changes = Changes(changes.file, number)
        changes.start()
        busy = ask(stage, running, options.seconds)
        changes.end()
        number = changes.number
        reloads = generation() - before
        if quiet.refused or busy.refused or reloads < 2:
            raise BenchError(f"{quiet.refused + busy.refused} requests failed, {reloads:.0f} reloads")
        moved.append((busy.p99 or 0) - (quiet.p99 or 0))
        say(
            f"pair {pair + 1}: p99 {quiet.p99:.0f} µs alone, {busy.p99:.0f} µs beside {reloads:.0f} reloads"
            f" ({busy.requests} requests)"
        )
    by = statistics.median(moved)
    say(f"reloads move p99 by {by:.0f} µs ({min(moved):.0f} to {max(moved):.0f})")
    missed = []
    if ready > READY_SECONDS:
        missed.append(f"serves after {READY_SECONDS} s")
    if resident > RESIDENT_MIB:
        missed.append(f"takes {RESIDENT_MIB:.0f} MiB")
    if by > P99_MICROSECONDS:
        missed.append(f"p99 moves by less than {P99_MICROSECONDS:.0f} µs")
    return missed


def main() -> int:
    options = arguments()
    binary = (options.portcullis or ROOT / "target/release/portcullis").resolve()
    if not binary.exists():
        raise BenchError(f"`{binary}` is not there; run: cargo build --release")
    below = ROOT / "target/bench"
    below.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="million-", dir=below))
    try:
        with Processes(directory) as processes:
            _, load_core = stages.cores()
            missed = measure(Stage(directory, processes, None, load_core, binary), options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for budget in missed:
        print(f"missed: {budget}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
