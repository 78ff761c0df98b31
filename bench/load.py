"""Clients that make load, and what they print: wrk, h2load, and a raw client for large bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError, Word, run


@dataclass(frozen=True)
class Load:
    """What a client did. Latencies are microseconds; `None` where the client does not tell."""

    requests: int
    seconds: float
    p50: float | None = None
    p99: float | None = None
    refused: int = 0
    bytes: int = 0


PATIENCE = "--timeout=30s"
"""For wrk: on a busy machine a program may stand still for seconds, which is no error of its own."""

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


def microseconds(text: str) -> float:
    """A time as wrk and h2load print it: `912.00us`, `1.23ms`, `2.00s`."""
    found = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text)
    if not found:
        raise BenchError(f"`{text}` is no time")
    return float(found[1]) * UNITS[found[2]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above."""
    ordered = sorted(values)
    if not ordered:
        raise BenchError("no values to take a percentile of")
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


def parse_wrk(output: str) -> Load:
    """What `wrk --latency` printed. Errors of sockets are failures."""
    done = re.search(r"(\d+) requests in ([0-9.]+(?:us|ms|s|m)),", output)
    if not done:
        raise BenchError(f"wrk printed no summary:\n{output}")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    if broken and any(map(int, broken.groups())):
        raise BenchError(f"wrk had {broken[0].lower()}")
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    middle = re.search(r"^\s+50%\s+(\S+)$", output, re.MULTILINE)
    late = re.search(r"^\s+99%\s+(\S+)$", output, re.MULTILINE)
    return Load(
        requests=int(done[1]),
        seconds=microseconds(done[2]) / 1e6,
        p50=microseconds(middle[1]) if middle else None,
        p99=microseconds(late[1]) if late else None,
        refused=int(other[1]) if other else 0,
    )


def parse_h2load(output: str, log: str) -> Load:
    """What `h2load` printed, and its log: one line for each request, with start, status and microseconds."""
    finished = re.search(r"finished in ([0-9.]+(?:us|ms|s|m)),", output)
    counts = re.search(
        r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output
    )
    if not finished or not counts:
        raise BenchError(f"h2load printed no summary:\n{output}")
    if any(map(int, counts.groups()[2:])):
        raise BenchError(f"h2load had failures: {counts[0]}")
    rows = [line.split("\t") for line in log.splitlines()]
    times = [float(row[2]) for row in rows if len(row) > 2]
    refused = sum(1 for row in rows if len(row) > 2 and not row[1].startswith("2"))
    return Load(
        requests=int(counts[1]),
        seconds=microseconds(finished[1]) / 1e6,
        p50=percentile(times, 0.5) if times else None,
        p99=percentile(times, 0.99) if times else None,
        refused=refused,
    )


def wrk(
    url: str,
    connections: int,
    seconds: float,
    core: int | None,
    headers: Sequence[str] = (),
    script: Path | None = None,
    arguments: Sequence[str] = (),
) -> Load:
    """HTTP/1.1 with one thread and `connections` connections for whole seconds."""
    command: list[Word] = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        PATIENCE,
    ]
    for header in headers:
        command += ["-H", header]
    if script:
        command += ["-s", script]
    done = run([*command, url, *arguments], core)
    if done.returncode != 0:
        raise BenchError(f"wrk failed: {done.stderr or done.stdout}")
    return parse_wrk(done.stdout)


def h2load(
    url: str,
    connections: int,
    streams: int,
    seconds: float,
    core: int | None,
    headers: Sequence[str],
    log: Path,
    more: Sequence[str] = (),
) -> Load:
    """HTTP/2 with one thread, `connections` connections and `streams` requests at a time on each; `more` are
    further options."""
    log.unlink(missing_ok=True)
    command: list[Word] = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{max(1, round(seconds))}"]
    for header in headers:
        command += ["-H", header]
    done = run([*command, *more, f"--log-file={log}", url], core)
    if done.returncode != 0:
        raise BenchError(f"h2load failed: {done.stderr or done.stdout}")
    return parse_h2load(done.stdout, log.read_text())
