"""Git repositories for the bench: the same in every run, of blobs that do not compress; and git as a
client."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from processes import BenchError, run

BLOB_BYTES = 1 << 20
SETTINGS = [
    "-c",
    "core.compression=0",
    "-c",
    "core.bigFileThreshold=64k",
    "-c",
    "pack.window=0",
    "-c",
    "gc.auto=0",
]


def environment(home: Path) -> Mapping[str, str]:
    """What git sees: no configuration but its own, nobody to ask."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def generate(path: Path, mebibytes: int) -> Path:
    """Makes a bare repository of about this size, unless it is there already from an earlier run."""
    done = path / "complete"
    if done.exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    create = ["git", "init", "--quiet", "--bare", "-b", "main", str(path)]
    subprocess.run(create, check=True, env=environment(path))
    import_noise(path, mebibytes, mebibytes)
    done.touch()
    return path


def import_noise(path: Path, seed: int, mebibytes: int) -> None:
    """Makes the branch `main`: one commit with a file of noise for each MiB."""
    command = ["git", *SETTINGS, "-C", str(path), "fast-import", "--quiet", "--depth=0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment(path)) as importer:
        assert importer.stdin is not None
        noise = random.Random(seed)
        names = []
        for number in range(1, mebibytes + 1):
            importer.stdin.write(
                f"blob\nmark :{number}\ndata {BLOB_BYTES}\n".encode() + noise.randbytes(BLOB_BYTES) + b"\n"
            )
            names.append(f"M 100644 :{number} blob-{number:04}\n")
        head = "commit refs/heads/main\ncommitter Bench <bench@example.com> 1700000000 +0000\ndata 5\nnoise\n"
        importer.stdin.write((head + "".join(names) + "\n").encode())
    if importer.returncode != 0:
        raise BenchError(f"git makes no repository in `{path}`")


def empty(path: Path) -> None:
    """Makes an empty bare repository, in the place of one that was there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "-b", "main", str(path)], check=True, env=environment(path)
    )
    for name, value in [("http.receivepack", "true"), ("gc.auto", "0"), ("receive.autogc", "false")]:
        subprocess.run(["git", "-C", str(path), "config", name, value], check=True, env=environment(path))


def seeded(path: Path, seed: int, mebibytes: int = 4) -> None:
    """Makes a bare repository that takes pushes, with a commit of noise."""
    empty(path)
    import_noise(path, seed, mebibytes)


def git(words: list[str], core: int | None, home: Path, seconds: float = 300.0) -> str:
    """Runs git as a client on `core`; what it printed."""
    done = run(["git", *words], core, seconds, env=environment(home))
    if done.returncode != 0:
        raise BenchError(f"git {words[0]} failed: {done.stderr}")
    return done.stdout


def head(path: Path) -> str:
    """The commit of the branch `main`."""
    done = subprocess.run(
        ["git", "-C", str(path), "rev-parse", "main"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(path),
    )
    return done.stdout.strip()
