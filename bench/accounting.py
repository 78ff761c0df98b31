"""What a program cost, from the kernel's own accounting: time on a processor, and peak memory.

`schedstat` counts nanoseconds on a processor for each thread. `utime` and `stime` count in ticks of ten milliseconds and
are split by sampling, which is too coarse for runs of seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def session_members(session: int) -> list[int]:
    """The processes of a session: a program with its workers and all that they started."""
    members = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The name stands in parentheses and may hold anything; state, parent, group and session follow.
        if int(stat.rpartition(")")[2].split()[3]) == session:
            members.append(int(entry.name))
    return members


def cpu_nanoseconds(session: int) -> int:
    """Time on a processor of all threads of all processes of a session."""
    total = 0
    for process in session_members(session):
        for thread in (PROC / str(process) / "task").glob("*/schedstat"):
            try:
                total += int(thread.read_text().split()[0])
            except OSError:
                continue
    return total


def reset_peak(session: int) -> None:
    """Makes the peak of resident memory begin anew."""
    for process in session_members(session):
        try:
            (PROC / str(process) / "clear_refs").write_text("5")
        except OSError:
            continue


def peak_bytes(session: int) -> int:
    """Peak resident memory since the last reset, summed over the processes of a session."""
    return sum(status_bytes(process, "VmHWM") for process in session_members(session))


def resident_bytes(session: int) -> int:
    """Resident memory now, summed over the processes of a session."""
    return sum(status_bytes(process, "VmRSS") for process in session_members(session))


def status_bytes(process: int, field: str) -> int:
    """A size out of `/proc/PID/status`; 0 where the process is gone."""
    try:
        status = (PROC / str(process) / "status").read_text()
    except OSError:
        return 0
    return size_in(status, field)


def size_in(status: str, field: str) -> int:
    """A size out of the text of `/proc/PID/status`, in bytes."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


def busy_nanoseconds(core: int) -> int:
    """Time that a core did not idle, in steps of a tick."""
    return busy_in((PROC / "stat").read_text(), core) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def busy_in(stat: str, core: int) -> int:
    """The ticks that a core did not idle, out of the text of `/proc/stat`."""
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            return user + nice + system + irq + softirq + steal
    return 0
