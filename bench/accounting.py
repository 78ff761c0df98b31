"""What a program cost, from the kernel's own accounting: time on a processor, and peak memory.

`schedstat` counts nanoseconds on a processor for each thread. `utime` and `stime` count in ticks of ten
milliseconds and are split by sampling, which is too coarse for runs of seconds."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

PROC = Path("/proc")


def members_of(sessions: Collection[int]) -> list[int]:
    """The processes of some sessions: programs with their workers and all that these started."""
    members = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The name stands in parentheses and may hold anything; state, parent, group and session follow.
        if int(stat.rpartition(")")[2].split()[3]) in sessions:
            members.append(int(entry.name))
    return members


def cpu_nanoseconds(sessions: Collection[int]) -> int:
    """Time on a processor of all threads of all processes of some sessions."""
    total = 0
    for process in members_of(sessions):
        for thread in (PROC / str(process) / "task").glob("*/schedstat"):
            try:
                total += int(thread.read_text().split()[0])
            except OSError:
                continue
    return total


def reset_peak(sessions: Collection[int]) -> None:
    """Makes the peak of resident memory begin anew."""
    for process in members_of(sessions):
        try:
            (PROC / str(process) / "clear_refs").write_text("5")
        except OSError:
            continue


def peak_bytes(sessions: Collection[int]) -> int:
    """Peak resident memory since the last reset, summed over the processes of some sessions."""
    return sum(status_bytes(process, "VmHWM") for process in members_of(sessions))


def resident_bytes(sessions: Collection[int]) -> int:
    """Resident memory now, summed over the processes of some sessions."""
    return sum(status_bytes(process, "VmRSS") for process in members_of(sessions))


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


def busy_nanoseconds(core: int | None) -> int:
    """Time that a core, or all of them together, did not idle, in steps of a tick."""
    return busy_in((PROC / "stat").read_text(), core) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def busy_in(stat: str, core: int | None) -> int:
    """The ticks that a core did not idle, out of the text of `/proc/stat`."""
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name == ("cpu" if core is None else f"cpu{core}"):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            return user + nice + system + irq + softirq + steal
    return 0
