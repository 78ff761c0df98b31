"""What the bench ran on, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from stage import Stage, program


def facts(stage: Stage, rounds: int, seconds: float) -> dict[str, str]:
    """Machine and versions, as they stand in the report."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "measured": datetime.datetime.now(datetime.timezone.utc).strftime("%B %Y"),
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) // (1 << 20)} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "rounds": f"{rounds}, {seconds:g} s each",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "Portcullis": said([str(stage.binary), "--version"]),
        "nginx": said([program("nginx"), "-v"]),
        "HAProxy": said([program("haproxy"), "-v"]) if "haproxy" in stage.running else "not run",
        "wrk": said(["wrk", "--version"]),
        "h2load": said(["h2load", "--version"]),
        "git": said(["git", "--version"]),
    }


def said(command: list[str]) -> str:
    """The version in the first line that a program prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return version_in(done.stdout + done.stderr)


def version_in(output: str) -> str:
    """The first thing that looks like a version."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", output)
    return found[0] if found else "unknown"
